// Package focus organises conferences: it answers conference requests, enters
// the rooms as the occupant "focus", decides who is moderator, offers a Jingle
// session to every participant, keeps the book of media sources and drives
// bridges by colibri2.
//
// Rules of this package:
//   - A Conference's state is touched only by its own goroutine. What comes from
//     outside, answers and timers included, is an event in its mailbox.
//   - Nothing on that goroutine waits. Requests go out with LocalPort.Go.
//   - The focus never leaves a room while somebody is in it: every client would
//     reload (LJM FOCUS_LEFT).
//   - A conference request is always answered, and never with an error for what
//     may pass: LJM has no timeout and takes every unknown error for final.
//   - Rooms and bridges are reached only by stanzas through the router.
package focus

// Nick is the occupant's name in every room. LJM takes an offer from any other
// nick for a peer-to-peer call.
const Nick = "focus"

// Namespaces that only this package reads.
const (
	nsMUC      = "http://jabber.org/protocol/muc"
	nsMUCUser  = "http://jabber.org/protocol/muc#user"
	nsMUCAdmin = "http://jabber.org/protocol/muc#admin"
	nsVisitors = "jitsi:visitors"
	nsMUCOwner = "http://jabber.org/protocol/muc#owner"
)
