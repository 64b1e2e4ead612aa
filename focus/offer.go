package focus

import (
	"slices"
	"strconv"

	"confab/xmpp/xep/jingle"
)

// What is offered (focus.md §7.3). The numbers are jicofo's; recorded calls and
// tests know them.

var (
	fbTCC  = jingle.Feedback{Type: "transport-cc"}
	fbREMB = jingle.Feedback{Type: "goog-remb"}
	fbLoss = []jingle.Feedback{{Type: "ccm", Subtype: "fir"}, {Type: "nack"}, {Type: "nack", Subtype: "pli"}}
)

const (
	extAudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	extMID        = "urn:ietf:params:rtp-hdrext:sdes:mid"
	extTCC        = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	extAbsTime    = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	extAV1        = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)

type videoCodec struct {
	name, key string
	pt, rtx   uint8
	params    []jingle.Parameter
}

// videoCodecs in order of offering.
var videoCodecs = []videoCodec{
	{"AV1", "av1", 41, 42, nil},
	{"VP8", "vp8", 100, 96, nil},
	// One parameter that contains the rest of the line, as stock.
	{"H264", "h264", 107, 99, []jingle.Parameter{{Name: "profile-level-id", Value: "42e01f;level-asymmetry-allowed=1;packetization-mode=1;"}}},
	{"VP9", "vp9", 101, 97, nil},
}

// contents are those offered to m, without transports.
func (c *Conference) contents(m *Member) []jingle.Content {
	var out []jingle.Content
	add := func(name string, d *jingle.Description) {
		d.RTCPMux = true
		out = append(out, jingle.Content{Creator: "initiator", Name: name, Senders: "both", Description: d})
	}
	if m.features.audio {
		add(jingle.Audio, c.audio(m))
	}
	if m.features.video {
		add(jingle.Video, c.video(m))
	}
	if data, _ := c.wantsData(m); data {
		add(jingle.Data, &jingle.Description{Media: jingle.Application})
	}
	return out
}

func (c *Conference) audio(m *Member) *jingle.Description {
	cfg := &c.s.cfg
	d := &jingle.Description{Media: jingle.Audio, MaxPTime: 60, ExtmapAllowMixed: true}
	opus := jingle.PayloadType{
		ID: 111, Name: "opus", ClockRate: 48000, Channels: 2,
		Parameters: []jingle.Parameter{{Name: "minptime", Value: "10"}},
	}
	if !cfg.OpusRED {
		opus.Parameters = append(opus.Parameters, jingle.Parameter{Name: "useinbandfec", Value: "1"})
	}
	if m.features.tcc {
		opus.Feedback = []jingle.Feedback{fbTCC}
	}
	if cfg.OpusRED && m.features.red {
		d.PayloadTypes = append(d.PayloadTypes, jingle.PayloadType{
			ID: 112, Name: "red", ClockRate: 48000, Channels: 2,
			Parameters: []jingle.Parameter{{Value: "111/111"}},
		})
	}
	d.PayloadTypes = append(d.PayloadTypes, opus, jingle.PayloadType{ID: 126, Name: "telephone-event", ClockRate: 8000})
	d.HdrExts = append(d.HdrExts, jingle.HdrExt{ID: 1, URI: extAudioLevel})
	if m.mids {
		d.HdrExts = append(d.HdrExts, jingle.HdrExt{ID: 10, URI: extMID})
	}
	if m.features.tcc {
		d.HdrExts = append(d.HdrExts, jingle.HdrExt{ID: 5, URI: extTCC})
	}
	return d
}

func (c *Conference) video(m *Member) *jingle.Description {
	cfg := &c.s.cfg
	d := &jingle.Description{Media: jingle.Video, ExtmapAllowMixed: true}
	fb := slices.Clone(fbLoss)
	switch {
	case m.features.tcc:
		fb = append(fb, fbTCC)
	case m.features.remb:
		fb = append(fb, fbREMB)
	}
	var rtx []jingle.PayloadType
	av1 := false
	for _, v := range videoCodecs {
		if v.key != "vp8" && !slices.Contains(cfg.Codecs, v.key) {
			continue
		}
		av1 = av1 || v.key == "av1"
		d.PayloadTypes = append(d.PayloadTypes, jingle.PayloadType{ID: v.pt, Name: v.name, ClockRate: 90000, Parameters: v.params, Feedback: fb})
		r := jingle.PayloadType{
			ID: v.rtx, Name: "rtx", ClockRate: 90000,
			Parameters: []jingle.Parameter{{Name: "apt", Value: strconv.Itoa(int(v.pt))}},
		}
		if v.key != "h264" {
			r.Feedback = fbLoss
		}
		rtx = append(rtx, r)
	}
	// LJM can't do with a single video payload type: then it gets the
	// retransmission even if it didn't ask for any.
	if m.features.rtx || len(d.PayloadTypes) < 2 {
		d.PayloadTypes = append(d.PayloadTypes, rtx...)
	}
	if av1 {
		d.HdrExts = append(d.HdrExts, jingle.HdrExt{ID: 11, URI: extAV1})
	}
	if m.mids {
		d.HdrExts = append(d.HdrExts, jingle.HdrExt{ID: 10, URI: extMID})
	}
	d.HdrExts = append(d.HdrExts, jingle.HdrExt{ID: 3, URI: extAbsTime})
	if m.features.tcc {
		d.HdrExts = append(d.HdrExts, jingle.HdrExt{ID: 5, URI: extTCC})
	}
	return d
}
