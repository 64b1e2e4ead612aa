// Package muc implements multi-user chat rooms (XEP-0045) with the behaviour
// that Jitsi Meet clients rely on. One Service is one MUC domain: the meetings,
// or the brewery in which bridges show themselves to the focus.
//
// Rules of this package:
//   - A Room's state is touched only by its meeting's goroutine; others post
//     events into its mailbox.
//   - Nothing on that goroutine waits: no network, no database, no channel send
//     that can block. What is slow comes back as an event.
//   - A broadcast is encoded once: all receivers get the same *xmpp.Stanza with an
//     empty To, only an occupant's own copy differs.
//   - Whether a join is admitted is decided by an ordered, named list of stages
//     (package muc/policy); features beside the chat are room services (package
//     muc/services).
//   - What clients must not say themselves (identity, permissions, muc#user,
//     occupant ids, names in messages) is taken out of every stanza they send.
package muc
