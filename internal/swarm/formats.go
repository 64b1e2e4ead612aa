package swarm

// Kind is what a payload type carries.
type Kind uint8

// Kinds of payload.
const (
	None Kind = iota
	Audio
	Video
	RTX // of video
)

// Formats are what was negotiated for a leg.
type Formats struct {
	Kinds [128]Kind // by payload type

	Opus, VP8, VP8RTX uint8 // what senders use; 0: none
	// Header extensions, 0: none.
	AudioLevel, TWCC, AbsSendTime, MID uint8

	// FeedbackSSRC is what reports come from; 0 takes that of the first stream sent,
	// or 1, as libwebrtc does.
	FeedbackSSRC uint32
	// NoNACK: nobody retransmits on request.
	NoNACK bool
}

// Use notes the payload types that senders use among the kinds.
func (f *Formats) Use(opus, vp8, rtx uint8) {
	f.Opus, f.VP8, f.VP8RTX = opus, vp8, rtx
	for pt, k := range map[uint8]Kind{opus: Audio, vp8: Video, rtx: RTX} {
		if pt != 0 {
			f.Kinds[pt&127] = k
		}
	}
}
