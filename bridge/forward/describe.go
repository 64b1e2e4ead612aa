package forward

import "confab/bridge/rtpx"

// Kind is the media kind of a source.
type Kind uint8

// Kinds of media.
const (
	Audio Kind = iota
	Video
)

// String is the name that signalling uses.
func (k Kind) String() string {
	if k == Video {
		return "video"
	}
	return "audio"
}

// Encoding is one RTP stream of a source with its retransmission stream.
type Encoding struct {
	SSRC uint32
	// RTX is the SSRC of the FID partner, 0 when there is none.
	RTX uint32
}

// Source is one microphone, camera or screen as it was signalled.
type Source struct {
	// Name is unique in the conference: "4a1c9f02-v0".
	Name string
	Kind Kind
	// Encodings is ordered as the SIM group, lowest first; audio has one. The
	// first SSRC is the one under which receivers get the source.
	Encodings []Encoding
	// Synthetic audio is made by a service of what the endpoint says, not sent by it
	// (Pipeline.Inject). Only who asks for it by name gets it, the endpoint too.
	Synthetic bool
}

// Payload is one payload type of an endpoint.
type Payload struct {
	PT        uint8
	Codec     rtpx.Codec
	Name      string // as signalled: "VP8", "opus", "red"
	Kind      Kind
	ClockRate uint32 // 0 means 48000 for audio, 90000 for video
	// RTX says that this is a retransmission format (RFC 4588) for Apt.
	RTX bool
	Apt uint8

	// Feedback that was negotiated for it (rtcp-fb).
	NACK, PLI, FIR, TransportCC, REMB bool
}

// Extensions are the negotiated ids of the header extensions that the bridge
// uses; 0 means not negotiated.
type Extensions struct {
	AudioLevel  uint8
	Orientation uint8
	AbsSendTime uint8
	TransportCC uint8
	Mid         uint8
	Dependency  uint8
	VideoLayers uint8
}

// Set notes an extension by its URI; an unknown one is ignored.
func (e *Extensions) Set(uri string, id uint8) {
	switch uri {
	case rtpx.URIAudioLevel:
		e.AudioLevel = id
	case rtpx.URIOrientation:
		e.Orientation = id
	case rtpx.URIAbsSendTime:
		e.AbsSendTime = id
	case rtpx.URITransportCC:
		e.TransportCC = id
	case rtpx.URIMid:
		e.Mid = id
	case rtpx.URIDependency:
		e.Dependency = id
	case rtpx.URIVideoLayers:
		e.VideoLayers = id
	}
}

// Media is what an endpoint negotiated. Payload types and extensions are
// additive in colibri2; the caller passes the whole set each time.
type Media struct {
	Payloads   []Payload
	Extensions Extensions
}
