package muc

import (
	"time"

	"confab/xmpp"
)

// Config is what one MUC domain needs to know. Limits at zero take the value of
// DefaultConfig.
type Config struct {
	// Domain is the address of the service, such as conference.meet.example.
	Domain string
	// Admins are the bare addresses that may create rooms. They are owners
	// everywhere, can't be changed by anybody, and pass limits and passwords.
	Admins []xmpp.JID
	// Focus is the bare account to which the nick "focus" belongs, in breweries,
	// too; when it is zero nobody gets that nick.
	Focus xmpp.JID
	// FocusService answers conference requests (focus.DOMAIN).
	FocusService xmpp.JID
	// SummonFocus lets a plain XMPP client's join to a missing room ask the
	// FocusService for the meeting (rooms.summon_focus).
	SummonFocus bool
	// Access names the domains whose users may use this service; nil means all.
	Access []string
	// ServiceDomains are those whose users are no people: the focus, bridges,
	// recorders. They neither fill a room nor keep it alive.
	ServiceDomains []string
	// Main is the service to whose meetings the rooms of this one belong, as lobbies
	// or breakout rooms; nil for a service of its own. Such rooms are opened by
	// Room.Open alone and live until they are destroyed or the main room ends.
	Main *Service
	// Inside says that who is in a room beside the main one is in the meeting and may
	// command its services: so in breakout rooms, not in a lobby.
	Inside bool
	// Visitors says that the rooms beside the main one are for visitors of the
	// meeting: visitors.go.
	Visitors bool
	// EndWithPeople ends a room when the last person leaves; else it lives until
	// the last occupant does.
	EndWithPeople bool
	// Linger keeps a room after its last person left (rooms.linger).
	Linger time.Duration
	// ServicesLinger keeps it, if longer, while a recorder or transcriber is in: a page
	// that is loaded anew finds the recording going on (mod_muc_cleanup_backend_services).
	ServicesLinger time.Duration

	MaxRooms        int           // rooms.max_rooms
	ParkedJoins     int           // joins that wait, per room (rooms.parked_joins)
	ParkTime        time.Duration // for the focus; then the join is refused
	History         int           // chat messages replayed to a joiner (rooms.history); negative: none
	HistoryBytes    int           // of them all
	MessageIDs      int           // messages whose writers are remembered, who may take them back
	PresenceBytes   int           // of one presence (limits.presence)
	Mailbox         int           // events that wait, per room
	PendingIQs      int           // requests without answer, per occupant, beside one for each other occupant
	IQTimeout       time.Duration // after which such a request is answered by the room
	MaxAffiliations int           // per room; a tenth more for owners and outcasts
	TextBytes       int           // of a subject, name, description, password or reason
	MaxInvites      int           // per message

	// Policy says what is settled about a room that is being made; it must not wait.
	// Nil settles nothing.
	Policy func(room xmpp.JID) RoomPolicy
	// Permissions are the features of a moderator without a token, pushed in its
	// own presence (client-signaling.md §8.5); nil pushes nothing.
	Permissions []string
	// Hidden names elements of presences that nobody here gets to see; nil hides none
	// but those that are the server's to say.
	Hidden func(name string) bool
	// Stages makes the join pipeline of one room; nil admits everybody whose nick
	// is free.
	Stages func() []Stage
	// Services makes the services of one room, in their order; nil is none for this
	// room.
	Services []func(*Room) RoomService
	// Client tells about the session behind a port; nil knows nothing of any.
	Client func(xmpp.Port) Client
}

// DefaultConfig is the configuration of the main MUC without its addresses.
func DefaultConfig() Config {
	return Config{
		SummonFocus:     true,
		EndWithPeople:   true,
		ServicesLinger:  20 * time.Second,
		MaxRooms:        10000,
		ParkedJoins:     500,
		ParkTime:        15 * time.Second, // the focus's start timeout
		History:         20,
		HistoryBytes:    256 << 10,
		MessageIDs:      1000,
		PresenceBytes:   32 << 10,
		Mailbox:         16384,
		PendingIQs:      256,
		IQTimeout:       2 * time.Minute,
		MaxAffiliations: 5000,
		TextBytes:       4096,
		MaxInvites:      50,
		Permissions: []string{"livestreaming", "recording", "transcription", "outbound-call",
			"create-polls", "send-groupchat", "send-private-message", "flip", "live-translation", "live-translation-subscribe"},
	}
}

func (c Config) withDefaults() Config {
	d := DefaultConfig()
	for _, f := range []struct{ have, deflt *int }{
		{&c.MaxRooms, &d.MaxRooms}, {&c.ParkedJoins, &d.ParkedJoins}, {&c.History, &d.History},
		{&c.HistoryBytes, &d.HistoryBytes}, {&c.PresenceBytes, &d.PresenceBytes}, {&c.Mailbox, &d.Mailbox},
		{&c.PendingIQs, &d.PendingIQs}, {&c.MaxAffiliations, &d.MaxAffiliations}, {&c.TextBytes, &d.TextBytes},
		{&c.MessageIDs, &d.MessageIDs},
		{&c.MaxInvites, &d.MaxInvites},
	} {
		if *f.have == 0 {
			*f.have = *f.deflt
		}
	}
	if c.ParkTime == 0 {
		c.ParkTime = d.ParkTime
	}
	if c.IQTimeout == 0 {
		c.IQTimeout = d.IQTimeout
	}
	return c
}

// Client is what the server knows about the session behind an occupant.
type Client struct {
	// Room is the "room" parameter of the WebSocket or BOSH URL: set by every
	// stock client, empty for plain XMPP clients.
	Room string
	// Tenant is the tenant of that URL, normalised (xmpp.NormalTenant), or "".
	Tenant string
	// In are the bare addresses that the session is in, to find the room of a client
	// whose URL names none.
	In []xmpp.JID
	// Stream says that the session is a TCP stream: its nick is made to conform
	// (status 210) where others are refused.
	Stream bool
	// Addr is the network address that tries of a password are counted by; "" counts
	// them by account.
	Addr string
	// Host says that the user logged in with an account: it is always admitted.
	Host bool
	// Guest says that nobody is behind the name but who got it: no account, though
	// perhaps a token.
	Guest bool
	// Claims are those of a verified token, or nil. Features and Identity are taken
	// from them.
	Claims *xmpp.Claims
	// Token is the JWT of the session's URL, verified or not, passed on in conference
	// requests made on its behalf.
	Token string
	// Features are those of a verified token; nil when there is none.
	Features map[string]bool
	// Identity is an encoded <identity/> of a verified token, which every presence
	// gets, or "".
	Identity string
	// Region is where the session's network is, or "".
	Region string
}
