package meettest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

const (
	iqPatience = time.Minute // LJM's IQ_TIMEOUT is 15 s, on machines that do nothing else
	maxPayload = 1100
	// rtxHistory is how many packets of an encoding can be retransmitted.
	rtxHistory = 256
	reportTick = time.Second
	audioTick  = 20 * time.Millisecond
)

// Where the tag of the source is in a packet of audio, behind it frameMagic.
const (
	audioTag    = 1
	audioTagEnd = audioTag + 4 + len(frameMagic)
)

// localMedia is what the client sends: one microphone, one camera and, once it was
// shared, a screen. It outlives sessions; its SSRCs stay.
type localMedia struct {
	media      *Media
	audioName  string
	videoName  string
	audioSSRC  uint32
	videoSSRCs []uint32 // by encoding
	rtxSSRCs   []uint32

	screenName             string
	screenSSRC, screenRTX  uint32
	screenShown, screenOff atomic.Bool // signalled; not shared now
	screenHeight           atomic.Int64

	audioLevel atomic.Uint32
	audioMuted atomic.Bool
	videoMuted atomic.Bool
	elsewhere  atomic.Bool  // peer-to-peer
	maxHeight  atomic.Int64 // of SenderSourceConstraints; -1 = no limit
}

func newLocalMedia(m *Media) *localMedia {
	l := &localMedia{media: m}
	if m == nil {
		return l
	}
	ssrc := func() uint32 { return rand.Uint32N(1<<31) + 1 }
	if m.Audio {
		l.audioSSRC = ssrc()
	}
	l.screenSSRC, l.screenRTX = ssrc(), ssrc()
	for range m.Layers {
		l.videoSSRCs = append(l.videoSSRCs, ssrc())
		l.rtxSSRCs = append(l.rtxSSRCs, ssrc())
	}
	return l
}

func (l *localMedia) name(nick string) {
	l.audioName, l.videoName, l.screenName = nick+"-a0", nick+"-v0", nick+"-v1"
	l.maxHeight.Store(-1)
	l.screenHeight.Store(-1)
	if l.media != nil {
		l.audioLevel.Store(uint32(l.media.Level))
	}
}

func (l *localMedia) hasAudio() bool { return l.audioSSRC != 0 }
func (l *localMedia) hasVideo() bool { return len(l.videoSSRCs) > 0 }

// signal are the sources and groups of a medium in the order of LJM.
func (l *localMedia) signal(media string) (srcs []jingle.Source, groups []jingle.SSRCGroup) {
	switch {
	case media == jingle.Audio && l.hasAudio():
		return []jingle.Source{{SSRC: l.audioSSRC, Name: l.audioName, MSID: l.msid("audio")}}, nil
	case media == jingle.Video && l.hasVideo():
		for i, ssrc := range l.videoSSRCs {
			for _, v := range []uint32{ssrc, l.rtxSSRCs[i]} {
				srcs = append(srcs, jingle.Source{SSRC: v, Name: l.videoName, VideoType: jingle.Camera, MSID: l.msid("video")})
			}
			groups = append(groups, jingle.SSRCGroup{Semantics: jingle.FID, SSRCs: []uint32{ssrc, l.rtxSSRCs[i]}})
			if i == 0 && len(l.videoSSRCs) > 1 {
				groups = append(groups, jingle.SSRCGroup{Semantics: jingle.SIM, SSRCs: l.videoSSRCs})
			}
		}
	}
	if media == jingle.Video && l.screenShown.Load() {
		s, g := l.screen()
		srcs, groups = append(srcs, s...), append(groups, g...)
	}
	return srcs, groups
}

// screen is how a shared screen is signalled.
func (l *localMedia) screen() (srcs []jingle.Source, groups []jingle.SSRCGroup) {
	for _, v := range []uint32{l.screenSSRC, l.screenRTX} {
		srcs = append(srcs, jingle.Source{SSRC: v, Name: l.screenName, VideoType: jingle.Desktop, MSID: l.msid("desktop")})
	}
	return srcs, []jingle.SSRCGroup{{Semantics: jingle.FID, SSRCs: []uint32{l.screenSSRC, l.screenRTX}}}
}

func (l *localMedia) msid(media string) string {
	nick := l.audioName[:len(l.audioName)-len("-a0")]
	return nick + "-" + media + "-0-1 " + media + "-track-" + nick + "-1"
}

func (l *localMedia) muteStates() map[string]bool {
	out := map[string]bool{}
	if l.hasAudio() {
		out[l.audioName] = l.audioMuted.Load()
	}
	if l.hasVideo() {
		out[l.videoName] = l.videoMuted.Load()
	}
	if l.screenShown.Load() {
		out[l.screenName] = l.screenOff.Load()
	}
	return out
}

// activeVideo are the types of the video that is on, by source.
func (l *localMedia) activeVideo() map[string]string {
	out := map[string]string{}
	if l.hasVideo() && !l.videoMuted.Load() {
		out[l.videoName] = "camera"
	}
	if l.screenShown.Load() && !l.screenOff.Load() {
		out[l.screenName] = "desktop"
	}
	return out
}

func (l *localMedia) constrain(source string, maxHeight int) {
	switch source {
	case l.videoName:
		l.maxHeight.Store(int64(maxHeight))
	case l.screenName:
		l.screenHeight.Store(int64(maxHeight))
	}
}

// ShareScreen begins to share a screen, or stops it: as LJM does, with a second
// source the first time, later by its video type alone.
func (c *Client) ShareScreen(ctx context.Context, on bool) error {
	l, s := c.local, c.currentSession()
	if s == nil {
		return errors.New("no session")
	}
	l.screenOff.Store(!on)
	if on && !l.screenShown.Swap(true) {
		srcs, groups := l.screen()
		j := jingle.Jingle{Action: jingle.SourceAdd, SID: s.sid, Initiator: s.peer, Contents: []jingle.Content{{
			Creator: "responder", Name: jingle.Video, Senders: "both",
			Description: &jingle.Description{Media: jingle.Video, Sources: srcs, Groups: groups},
		}}}
		if _, err := c.IQ(ctx, xmpp.TypeSet, s.peer, j.String()); err != nil {
			return fmt.Errorf("source-add: %w", err)
		}
		s.sender.share()
	}
	typ := "none"
	if on {
		typ = "desktop"
	}
	s.channel.sendJSON(map[string]string{"colibriClass": "SourceVideoTypeMessage", "sourceName": l.screenName, "videoType": typ})
	c.updatePresence()
	return nil
}

// active reports whether encoding i is sent: those up to the wanted height, and
// the lowest whenever anything is wanted.
func (l *localMedia) active(i int) bool {
	limit := l.maxHeight.Load()
	if l.videoMuted.Load() || limit == 0 {
		return false
	}
	return i == 0 || limit < 0 || int64(l.media.Layers[i].Height) <= limit
}

// SetAudioLevel says how loud the microphone is from now on, in -dBov.
func (c *Client) SetAudioLevel(level uint8) { c.local.audioLevel.Store(uint32(level)) }

// SetMuted mutes or unmutes "audio" or "video" and tells the room.
func (c *Client) SetMuted(media string, muted bool) {
	if media == "video" {
		c.local.videoMuted.Store(muted)
	} else {
		c.local.audioMuted.Store(muted)
	}
	c.updatePresence()
}

// Elsewhere has the client send nothing to the bridge, as one does that is
// peer-to-peer: its tracks go on, over another connection.
func (c *Client) Elsewhere(on bool) { c.local.elsewhere.Store(on) }

// Muted reports the own state of "audio" or "video".
func (c *Client) Muted(media string) bool {
	if media == "video" {
		return c.local.videoMuted.Load()
	}
	return c.local.audioMuted.Load()
}

// SendHeight is the maxHeight that the bridge asked of the camera, -1 without
// limit.
func (c *Client) SendHeight() int { return int(c.local.maxHeight.Load()) }

// SendForeign sends n packets under an SSRC that was never signalled.
func (c *Client) SendForeign(ssrc uint32, n int) {
	s := c.currentSession()
	if s == nil {
		return
	}
	for i := range n {
		h := rtp.Header{Version: 2, SSRC: ssrc, PayloadType: s.formats.VP8, SequenceNumber: uint16(i + 1), Timestamp: uint32(i) * 3000, Marker: true}
		enc := newEncoder("", 0, Layer{640, 360, 8000})
		packets, _ := enc.next(15, maxPayload)
		s.transport.sendRTP(&h, packets[0])
	}
}
