// Package xmpp is the XMPP server core: addresses, stanzas, the router that
// other packages hang their addresses on, and the sessions of clients over
// WebSocket (RFC 7395), BOSH (XEP-0124, XEP-0206) and TCP (RFC 6120).
//
// Rules of this package:
//   - A stanza is text plus an index, parsed once; it is immutable once routed.
//     To change one, make another with With, WithChild or WithoutChild.
//   - Broadcasts share one Stanza among all receivers: its To is empty, and the
//     receiving port is the addressee.
//   - Deliver never waits. Only a connection's reader may wait, for the mailbox
//     of what it talks to: back-pressure on the sender and on nobody else.
//   - What goes to a client carries literal namespaces and no prefixes, because
//     LJM selects by the literal xmlns attribute.
//   - A connection is a stream with two goroutines: the reader, which is also its
//     owner, and from bind on the writer. Before bind the reader writes.
//   - A Session is a bound resource and outlives its connection; what waits for
//     the client, and what it has not acknowledged, is in its queue, bounded.
//   - A slow client loses its connection, never the room its pace.
//   - This package imports nothing of ours.
package xmpp
