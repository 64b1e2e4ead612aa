package focus

import (
	"strconv"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// Admission has a say in whether a room may be opened: a booking service
// (room-services.md §7.6). It is asked for every conference request to a room
// without a conference, whichever way that came.
type Admission interface {
	// Admit must not wait. It calls answer exactly once, at once or later, on any
	// goroutine but with none of the caller's locks held; nil opens the room. who is
	// the bare address of the account or the guest who asks, zero when it isn't known.
	Admit(room, who xmpp.JID, answer func(*xmpp.StanzaError))
}

// NotReserved refuses a conference request as stock clients show it: LJM
// Moderator._handleIqError takes code and text for its dialogue.
func NotReserved(code int, text string) *xmpp.StanzaError {
	err := xmpp.ServiceUnavailable(text)
	var app xmpp.Enc
	app.Start("reservation-error", jitmeet.NSFocus).Attr("error-code", strconv.Itoa(code)).End()
	err.App = app.String()
	return err
}
