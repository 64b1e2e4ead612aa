package muc

import "confab/xmpp"

// Namespaces of what rooms speak.
const (
	NSMUC        = "http://jabber.org/protocol/muc"
	NSUser       = "http://jabber.org/protocol/muc#user"
	NSAdmin      = "http://jabber.org/protocol/muc#admin"
	NSOwner      = "http://jabber.org/protocol/muc#owner"
	NSRoomConfig = "http://jabber.org/protocol/muc#roomconfig"
	NSRoomInfo   = "http://jabber.org/protocol/muc#roominfo"
	NSRequest    = "http://jabber.org/protocol/muc#request"
	NSOccupantID = "urn:xmpp:occupant-id:0"
	NSNick       = "http://jabber.org/protocol/nick"
	NSJitsi      = "http://jitsi.org/jitmeet"
	NSFocus      = "http://jitsi.org/protocol/focus"

	nsDisplayName = "http://jitsi.org/protocol/display-name"
	nsStableID    = "http://jabber.org/protocol/muc#stable_id"
	nsSelfPing    = "http://jabber.org/protocol/muc#self-ping-optimization"
	nsConference  = "jabber:x:conference"
	nsAddress     = "http://jabber.org/protocol/address"
	nsHints       = "urn:xmpp:hints"
	nsEME         = "urn:xmpp:eme:0"
	nsMarkers     = "urn:xmpp:chat-markers:0"
	nsReply       = "urn:xmpp:reply:0"
	nsRetract     = "urn:xmpp:message-retract:1"
	nsOldDelay    = "jabber:x:delay"
)

// Texts that clients match literally or show.
const (
	// TextCreation is matched by LJM ChatRoom.onPresenceError: it repeats the
	// conference request and the join, up to three times.
	TextCreation     = "Room creation is restricted"
	textNotConnected = "You are not currently connected to this chat"
	textNoVoice      = "You do not currently have permission to speak in this chat"
	textSubject      = "You are not allowed to change the subject"
	textNickChange   = "Nick changes are not allowed"
	textNoRecipient  = "Recipient not in room"
	textOwnersOnly   = "Only owners can configure rooms"
	textBareJID      = "Bare JID expected, got full JID"
	textFormType     = "Form is not of type room configuration"

	// textServices is what recorders learn when a room without people ends.
	textServices = "Empty room with recording and/or transcribing."
	// TextTerminated is what LJM shows when a room is destroyed for good.
	TextTerminated = "The meeting has been terminated"
)

// notConnected is the answer to who writes without having joined.
func notConnected() *xmpp.StanzaError {
	return &xmpp.StanzaError{Type: "cancel", Cond: xmpp.CondNotAcceptable, Text: textNotConnected}
}
