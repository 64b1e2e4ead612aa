// Package turn holds the tests of the relay with the tools that come with coturn as
// clients: turnutils_uclient, turnutils_peer, turnutils_stunclient and
// turnutils_natdiscovery, against the real program. They are other people's idea of
// the protocol.
//
// Rules of this package:
//   - What counts is what a tool says about its packets: so many sent, as many
//     received, none lost. They exit with 0 whatever happens.
//   - Everything runs in a network namespace, with addresses of which the server has
//     some and clients and peers have others: never its own, nor loopback, which the
//     relay refuses to reach. Without the right to make one, the tests are skipped
//     and say so.
package turn
