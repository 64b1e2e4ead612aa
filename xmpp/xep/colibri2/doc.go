// Package colibri2 reads and writes the protocol by which a focus creates and
// changes endpoints on a bridge (namespace jitsi:colibri2), and the statistics
// that a bridge publishes in its presence.
//
// Rules of this package:
//   - Reading is tolerant (children in any order, unknown ones skipped), except
//     for what the protocol requires: ids and meeting ids.
//   - Booleans are written only when they differ from their default, as jicofo
//     and the JVB do.
//   - A nil pointer or slice pointer means "element absent", which in an update
//     means "leave alone".
package colibri2

// NS is the namespace of all colibri2 elements; NSStats that of <stats/>.
const (
	NS        = "jitsi:colibri2"
	NSStats   = "http://jitsi.org/protocol/colibri"
	NSHealth  = "http://jitsi.org/protocol/healthcheck"
	elModify  = "conference-modify"
	elChanged = "conference-modified"
)

// Capabilities of endpoints.
const (
	CapSourceNames    = "source-names" // mandatory at creation
	CapSSRCRewriting  = "ssrc-rewriting"
	CapPrivateAddress = "private-address-connectivity"
	CapMidDemux       = "rtp-mid-demux" // only with CapSSRCRewriting
)

// RoleVisitor is the muc-role of a visitor.
const RoleVisitor = "visitor"
