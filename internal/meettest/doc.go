// Package meettest is a Jitsi client in Go for tests and load: it does what
// lib-jitsi-meet (LJM) does, in its order, from the WebSocket to synthetic opus
// and VP8 simulcast, and counts what comes back.
//
// Rules of this package:
//   - What a stock client can't live with ends the Client with a *Fault that says
//     which rule was broken: prefixed elements, two elements in a frame, a focus
//     that can't be recognised, an offer without BUNDLE, an acknowledgement of
//     stanzas never sent. Everything waits on that, so a test fails at once and
//     with the reason.
//   - Nothing sleeps. Tests wait for a condition with a context (Until, Expect,
//     ExpectMessage); a failed wait says what was waited for.
//   - Media runs on pion's ICE, DTLS, SRTP and SCTP, not on PeerConnection: a test
//     must be able to send what a browser never would, and to see every SSRC.
//   - Every goroutine belongs to a Client; Close and Kill return when all are gone.
//
// The server side of a test is StartServer, which runs the real program.
package meettest
