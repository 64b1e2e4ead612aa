// Package jingle reads and writes the Jingle sessions that Jitsi clients hold
// with the focus (XEP-0166, XEP-0167, XEP-0176, XEP-0293, XEP-0294, XEP-0320,
// XEP-0338, XEP-0339, XEP-0343), without SDP.
//
// Rules of this package:
//   - Reading is tolerant: unknown attributes and elements are skipped, order does
//     not matter, and a value that can't be read becomes its zero value, for the
//     validation of the reader to refuse.
//   - Writing is exact: every element whose namespace LJM selects by carries a
//     literal xmlns attribute, even where the parent's would do.
//   - Values are plain structs; nothing here keeps state.
package jingle

// Namespaces of the elements in a Jingle session.
const (
	NS         = "urn:xmpp:jingle:1"
	NSErrors   = "urn:xmpp:jingle:errors:1"
	NSRTP      = "urn:xmpp:jingle:apps:rtp:1"
	NSRTCPFB   = "urn:xmpp:jingle:apps:rtp:rtcp-fb:0"
	NSHdrExt   = "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0"
	NSSSMA     = "urn:xmpp:jingle:apps:rtp:ssma:0"
	NSICEUDP   = "urn:xmpp:jingle:transports:ice-udp:1"
	NSDTLS     = "urn:xmpp:jingle:apps:dtls:0"
	NSSCTP     = "urn:xmpp:jingle:transports:dtls-sctp:1"
	NSGrouping = "urn:xmpp:jingle:apps:grouping:0"
	NSJitMeet  = "http://jitsi.org/jitmeet"
	NSFocus    = "http://jitsi.org/protocol/focus"
	NSColibri  = "http://jitsi.org/protocol/colibri"
	NSColibri2 = "jitsi:colibri2"
	NSStartMut = "http://jitsi.org/jitmeet/start-muted"
)

// Actions (XEP-0166 §7.2 and Jitsi's own).
const (
	SessionInitiate  = "session-initiate"
	SessionAccept    = "session-accept"
	SessionInfo      = "session-info"
	SessionTerminate = "session-terminate"
	TransportInfo    = "transport-info"
	TransportAccept  = "transport-accept"
	TransportReject  = "transport-reject"
	SourceAdd        = "source-add"
	SourceRemove     = "source-remove"
)

// Media types, and the content of the data channel.
const (
	Audio       = "audio"
	Video       = "video"
	Data        = "data"
	Application = "application"
)
