package meettest

import (
	"errors"
	"fmt"

	"confab/xmpp/xep/jingle"
)

// Formats are the payload types and header extensions of an offer that the
// clients use. 0 means that there is none.
type Formats struct {
	Opus, VP8, VP8RTX              uint8
	AudioLevel, TWCC, AbsTime, MID uint8
	Audio, Video, Data             bool // is there such a content
}

// ReadFormats takes them from an offer.
func ReadFormats(j *jingle.Jingle) (f Formats) {
	for _, c := range j.Contents {
		d := c.Description
		if isData(&c) {
			f.Data = true
			continue
		}
		if d == nil {
			continue
		}
		for _, p := range d.PayloadTypes {
			switch p.Name {
			case "opus":
				f.Opus = p.ID
			case "VP8":
				f.VP8 = p.ID
			}
		}
		for _, p := range d.PayloadTypes {
			if p.Name == "rtx" && f.VP8 != 0 && p.Get("apt") == fmt.Sprint(f.VP8) {
				f.VP8RTX = p.ID
			}
		}
		for _, x := range d.HdrExts {
			switch x.URI {
			case "urn:ietf:params:rtp-hdrext:sdes:mid":
				f.MID = uint8(x.ID)
			case "urn:ietf:params:rtp-hdrext:ssrc-audio-level":
				f.AudioLevel = uint8(x.ID)
			case "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01":
				f.TWCC = uint8(x.ID)
			case "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time":
				f.AbsTime = uint8(x.ID)
			}
		}
		f.Audio = f.Audio || d.Media == jingle.Audio
		f.Video = f.Video || d.Media == jingle.Video
	}
	return f
}

func isData(c *jingle.Content) bool {
	return c.Media() == jingle.Data || c.Description != nil && c.Description.Media == jingle.Application
}

// readOffer takes from an offer what LJM needs; its error is the rule broken.
func readOffer(j *jingle.Jingle) (f Formats, err error) {
	if j.Group == nil || j.Group.Semantics != "BUNDLE" {
		return f, errors.New("an offer has a BUNDLE group, else offerAnswerFailed")
	}
	sources := map[string]int{}
	for _, c := range j.Contents {
		switch d := c.Description; {
		case isData(&c):
		case d == nil:
			return f, fmt.Errorf("a description in content %s", c.Name)
		default:
			sources[d.Media] += len(d.Sources)
		}
	}
	for _, es := range j.Sources {
		sources[jingle.Audio] += len(es.Audio)
		sources[jingle.Video] += len(es.Video)
	}
	f = ReadFormats(j)
	switch {
	case !f.Audio && !f.Video:
		return f, errors.New("audio or video in an offer")
	case f.Audio && f.Opus == 0:
		return f, errors.New("opus in the audio content")
	case f.Video && (f.VP8 == 0 || f.VP8RTX == 0):
		return f, errors.New("VP8 and its rtx in the video content; one payload type alone throws")
	}
	// Without placeholders LJM renegotiates for ever.
	for _, media := range []string{jingle.Audio, jingle.Video} {
		if (media == jingle.Audio && f.Audio || media == jingle.Video && f.Video) && sources[media] == 0 {
			return f, fmt.Errorf("a source in the %s content, if only the placeholder", media)
		}
	}
	return f, nil
}

// Answer is the session-accept to an offer of focus as LJM makes it out of the
// browser's answer: codecs and extensions that both have, own sources in XML, the same
// transport everywhere.
func (f Formats) Answer(offer *jingle.Jingle, focus, responder string, local *jingle.Transport,
	sources func(media string) ([]jingle.Source, []jingle.SSRCGroup)) *jingle.Jingle {
	out := &jingle.Jingle{
		Action: jingle.SessionAccept, SID: offer.SID, Initiator: focus, Responder: responder,
		Group: &jingle.Group{Semantics: "BUNDLE"},
	}
	for _, c := range offer.Contents {
		out.Group.Contents = append(out.Group.Contents, c.Name)
		answer := jingle.Content{Creator: "responder", Name: c.Name, Transport: local}
		if isData(&c) {
			t := *local
			t.SCTP = &jingle.SCTPMap{Number: 5000, Protocol: "webrtc-datachannel"}
			answer.Transport = &t
			out.Contents = append(out.Contents, answer)
			continue
		}
		answer.Senders = "both"
		d := &jingle.Description{Media: c.Description.Media, ExtmapAllowMixed: c.Description.ExtmapAllowMixed, RTCPMux: true}
		for _, p := range c.Description.PayloadTypes {
			if p.ID == f.Opus || p.ID == f.VP8 || p.ID == f.VP8RTX {
				d.PayloadTypes = append(d.PayloadTypes, p)
			}
		}
		for _, x := range c.Description.HdrExts {
			if id := uint8(x.ID); id == f.AudioLevel || id == f.TWCC || id == f.AbsTime || id == f.MID {
				d.HdrExts = append(d.HdrExts, x)
			}
		}
		d.Sources, d.Groups = sources(d.Media)
		answer.Description = d
		out.Contents = append(out.Contents, answer)
	}
	return out
}
