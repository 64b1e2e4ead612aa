package meettest

import (
	"errors"
	"fmt"

	"confab/xmpp/xep/jingle"
)

// formats are the payload types and header extensions of an offer that the
// client uses. 0 means that there is none.
type formats struct {
	opus, vp8, vp8rtx         uint8
	audioLevel, twcc, absTime uint8
	mid                       uint8
	data                      bool
	audio, video              bool
}

// readOffer takes from an offer what LJM needs; its error is the rule broken.
func readOffer(j *jingle.Jingle) (f formats, err error) {
	if j.Group == nil || j.Group.Semantics != "BUNDLE" {
		return f, errors.New("an offer has a BUNDLE group, else offerAnswerFailed")
	}
	sources := map[string]int{}
	for _, c := range j.Contents {
		d := c.Description
		if c.Media() == jingle.Data || d != nil && d.Media == jingle.Application {
			f.data = true
			continue
		}
		if d == nil {
			return f, fmt.Errorf("a description in content %s", c.Name)
		}
		for _, p := range d.PayloadTypes {
			switch p.Name {
			case "opus":
				f.opus = p.ID
			case "VP8":
				f.vp8 = p.ID
			}
		}
		for _, p := range d.PayloadTypes {
			if p.Name == "rtx" && p.Get("apt") == fmt.Sprint(f.vp8) {
				f.vp8rtx = p.ID
			}
		}
		for _, x := range d.HdrExts {
			switch x.URI {
			case "urn:ietf:params:rtp-hdrext:sdes:mid":
				f.mid = uint8(x.ID)
			case "urn:ietf:params:rtp-hdrext:ssrc-audio-level":
				f.audioLevel = uint8(x.ID)
			case "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01":
				f.twcc = uint8(x.ID)
			case "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time":
				f.absTime = uint8(x.ID)
			}
		}
		sources[d.Media] += len(d.Sources)
		switch d.Media {
		case jingle.Audio:
			f.audio = true
		case jingle.Video:
			f.video = true
		}
	}
	for _, es := range j.Sources {
		sources[jingle.Audio] += len(es.Audio)
		sources[jingle.Video] += len(es.Video)
	}
	switch {
	case !f.audio && !f.video:
		return f, errors.New("audio or video in an offer")
	case f.audio && f.opus == 0:
		return f, errors.New("opus in the audio content")
	case f.video && (f.vp8 == 0 || f.vp8rtx == 0):
		return f, errors.New("VP8 and its rtx in the video content; one payload type alone throws")
	}
	// Without placeholders LJM renegotiates for ever.
	for _, media := range []string{jingle.Audio, jingle.Video} {
		if (media == jingle.Audio && f.audio || media == jingle.Video && f.video) && sources[media] == 0 {
			return f, fmt.Errorf("a source in the %s content, if only the placeholder", media)
		}
	}
	return f, nil
}
