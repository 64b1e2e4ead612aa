// Package swarm is thousands of WebRTC endpoints in one goroutine and on one UDP
// socket: the clients of load tests, so cheap that the server is what is measured.
//
// Every endpoint (Leg) has an address of its own in 127.64.0.0/10 or another network
// of which all addresses are local. So one socket bound to every address receives
// for all of them with one recvmmsg, and IP_PKTINFO says, both ways, whose packet it
// is. (Of 127.0.0.0/8 Linux takes all for local; of others if told, as by
// "ip route add local 198.18.0.0/16 dev eth0", which servers need that bind their
// sockets to an interface, as libnice does.)
//
// Relays are the other load: clients of a TURN server and the peers that they talk to,
// with addresses of their own in the same way. What they send are numbered packets
// that carry their time of departure; every one of them is looked at when it arrives.
//
// Rules of this package:
//   - ICE, DTLS and SRTP are real; who signals hands over the parameters (Local,
//     Remote). Only the handshakes run on goroutines of their own.
//   - What arrives is counted by its cleartext header, all of it. One packet in
//     SampleEvery of a stream, and all of a video until its first key frame, is
//     authenticated, decrypted and read.
//   - A receiver reports as a browser does: transport-wide feedback, receiver
//     reports, NACK, PLI; a sender reports, answers PLI and FIR with key frames and
//     NACK with retransmissions. Else a server would take the network for bad.
//   - Everything of a Leg but the handshakes belongs to the goroutine of the Swarm;
//     others go there by Do. Relays have no goroutine: they run on their caller's.
package swarm
