// Package scenario holds tests of whole meetings: the real program in a process
// of its own, clients of internal/meettest that behave as the Jitsi library and
// send synthetic media, and a plain XMPP client.
//
// Rules of this package:
//   - A test is a story: who joins, what happens, what everybody must notice.
//   - Every wait is for an event, bounded by the context of the test's world.
//   - Every story has a server of its own: it starts in a fraction of a second,
//     and what goes wrong in one is not seen in another.
package scenario
