package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"confab/internal/swarm"
)

// Extensions that the load generator speaks.
const (
	extAudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	extTWCC       = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	extAbsTime    = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	extMID        = "urn:ietf:params:rtp-hdrext:sdes:mid"
)

// Payload types and extension ids of our own offers.
const (
	ptOpus, ptVP8, ptRTX              = 111, 96, 97
	idLevel, idAbsTime, idTWCC, idMID = 1, 2, 3, 4
)

// sdpMedia is one section of a session description.
type sdpMedia struct {
	kind       string // audio, video, application
	proto      string
	mid        string
	rejected   bool
	codecs     map[uint8]string // opus, vp8, rtx …, in lower case
	apt        map[uint8]uint8
	order      []uint8
	exts       map[string]uint8
	direction  string
	attributes map[string]string // the first of each name
	candidates []netip.AddrPort
}

// sdp is a session description.
type sdp struct {
	attributes map[string]string
	media      []*sdpMedia
}

// parseSDP reads as much of RFC 8866 as the servers under comparison write.
func parseSDP(text string) (*sdp, error) {
	s := &sdp{attributes: map[string]string{}}
	var m *sdpMedia
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "m="); ok {
			f := strings.Fields(rest)
			if len(f) < 4 {
				return nil, fmt.Errorf("media line %q", line)
			}
			m = &sdpMedia{kind: f[0], proto: f[2], rejected: f[1] == "0", codecs: map[uint8]string{}, apt: map[uint8]uint8{}, exts: map[string]uint8{}, attributes: map[string]string{}}
			s.media = append(s.media, m)
			continue
		}
		rest, ok := strings.CutPrefix(line, "a=")
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(rest, ":")
		if m == nil {
			if _, again := s.attributes[name]; !again {
				s.attributes[name] = value
			}
			continue
		}
		m.attribute(name, value)
	}
	return s, nil
}

func (m *sdpMedia) attribute(name, value string) {
	f := strings.Fields(value)
	switch {
	case name == "mid":
		m.mid = value
	case name == "sendrecv" || name == "sendonly" || name == "recvonly" || name == "inactive":
		m.direction = name
	case name == "rtpmap" && len(f) == 2:
		if pt, err := strconv.ParseUint(f[0], 10, 7); err == nil {
			codec, _, _ := strings.Cut(f[1], "/")
			m.codecs[uint8(pt)] = strings.ToLower(codec)
			m.order = append(m.order, uint8(pt))
		}
	case name == "fmtp" && len(f) > 1:
		pt, err := strconv.ParseUint(f[0], 10, 7)
		apt, found := strings.CutPrefix(f[1], "apt=")
		if n, err2 := strconv.ParseUint(apt, 10, 7); found && err == nil && err2 == nil {
			m.apt[uint8(pt)] = uint8(n)
		}
	case name == "extmap" && len(f) >= 2:
		id, _, _ := strings.Cut(f[0], "/")
		if n, err := strconv.ParseUint(id, 10, 8); err == nil {
			m.exts[f[1]] = uint8(n)
		}
	case name == "candidate" && len(f) >= 8 && strings.EqualFold(f[2], "udp"):
		if a, err := netip.ParseAddrPort(f[4] + ":" + f[5]); err == nil {
			m.candidates = append(m.candidates, a)
		}
	}
	if _, again := m.attributes[name]; !again {
		m.attributes[name] = value
	}
}

func (s *sdp) get(m *sdpMedia, name string) string {
	if v, ok := m.attributes[name]; ok {
		return v
	}
	return s.attributes[name]
}

// live is the first section that was not rejected: with BUNDLE its transport is
// that of all.
func (s *sdp) live() *sdpMedia {
	for _, m := range s.media {
		if !m.rejected {
			return m
		}
	}
	return nil
}

// remote is the transport of the other side. offered says that it offers: then it
// controls ICE, unless it is a lite agent.
func (s *sdp) remote(offered bool) (r swarm.Remote, err error) {
	m := s.live()
	if m == nil {
		return r, errors.New("every section is rejected")
	}
	_, lite := s.attributes["ice-lite"]
	r = swarm.Remote{Ufrag: s.get(m, "ice-ufrag"), Pwd: s.get(m, "ice-pwd"), Controlling: !offered || lite}
	hash, value, _ := strings.Cut(s.get(m, "fingerprint"), " ")
	if !strings.EqualFold(hash, "sha-256") || r.Ufrag == "" {
		return r, errors.New("no ufrag, or no fingerprint of SHA-256")
	}
	r.Fingerprint = value
	r.Active = s.get(m, "setup") == "active" // actpass: we begin
	var all []netip.AddrPort
	for _, m := range s.media {
		all = append(all, m.candidates...)
	}
	if r.Address = nearest(all); !r.Address.IsValid() {
		return r, errors.New("no UDP candidate of IPv4")
	}
	return r, nil
}

// nearest prefers loopback.
func nearest(all []netip.AddrPort) (best netip.AddrPort) {
	for _, a := range all {
		if a.Addr().Is4() && (!best.IsValid() || a.Addr().IsLoopback() && !best.Addr().IsLoopback()) {
			best = a
		}
	}
	return best
}

// formats are those of both kinds together; with BUNDLE payload types and ids are
// unique.
func (s *sdp) formats() (f swarm.Formats) {
	for _, m := range s.media {
		if m.rejected {
			continue
		}
		for pt, codec := range m.codecs {
			switch {
			case codec == "opus":
				f.Opus, f.Kinds[pt] = pt, swarm.Audio
			case codec == "vp8":
				f.VP8, f.Kinds[pt] = pt, swarm.Video
			case codec == "rtx" && m.codecs[m.apt[pt]] == "vp8":
				f.VP8RTX, f.Kinds[pt] = pt, swarm.RTX
			}
		}
		for uri, id := range m.exts {
			switch uri {
			case extAudioLevel:
				f.AudioLevel = id
			case extTWCC:
				f.TWCC = id
			case extAbsTime:
				f.AbsSendTime = id
			case extMID:
				f.MID = id
			}
		}
	}
	return f
}

func head(b *strings.Builder, local swarm.Local, setup string, mids []string) {
	fmt.Fprintf(b, "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE %s\r\na=msid-semantic: WMS *\r\n", strings.Join(mids, " "))
	fmt.Fprintf(b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:sha-256 %s\r\na=setup:%s\r\n", local.Ufrag, local.Pwd, local.Fingerprint, setup)
}

func line(b *strings.Builder, m string, local swarm.Local, mid, direction string) {
	fmt.Fprintf(b, "%s\r\nc=IN IP4 %s\r\na=mid:%s\r\na=%s\r\na=rtcp-mux\r\na=rtcp-rsize\r\n", m, local.Address.Addr(), mid, direction)
	fmt.Fprintf(b, "a=candidate:1 1 udp 2130706431 %s %d typ host\r\na=end-of-candidates\r\n", local.Address.Addr(), local.Address.Port())
}

// offer describes tracks that are sent and numbers their sections.
func offer(local swarm.Local, stream string, tracks []*swarm.Track) string {
	var b strings.Builder
	var mids []string
	for i, t := range tracks {
		t.MID = strconv.Itoa(i)
		mids = append(mids, t.MID)
	}
	head(&b, local, "actpass", mids)
	for _, t := range tracks {
		if t.Kind == swarm.Audio {
			line(&b, fmt.Sprintf("m=audio 9 UDP/TLS/RTP/SAVPF %d", ptOpus), local, t.MID, "sendonly")
			fmt.Fprintf(&b, "a=rtpmap:%d opus/48000/2\r\na=fmtp:%d minptime=10;useinbandfec=1\r\na=rtcp-fb:%d transport-cc\r\na=extmap:%d %s\r\n", ptOpus, ptOpus, ptOpus, idLevel, extAudioLevel)
		} else {
			line(&b, fmt.Sprintf("m=video 9 UDP/TLS/RTP/SAVPF %d %d", ptVP8, ptRTX), local, t.MID, "sendonly")
			fmt.Fprintf(&b, "a=rtpmap:%d VP8/90000\r\na=rtpmap:%d rtx/90000\r\na=fmtp:%d apt=%d\r\n", ptVP8, ptRTX, ptRTX, ptVP8)
			for _, fb := range []string{"ccm fir", "nack", "nack pli", "goog-remb", "transport-cc"} {
				fmt.Fprintf(&b, "a=rtcp-fb:%d %s\r\n", ptVP8, fb)
			}
			fmt.Fprintf(&b, "a=extmap:%d %s\r\n", idAbsTime, extAbsTime)
		}
		fmt.Fprintf(&b, "a=extmap:%d %s\r\na=extmap:%d %s\r\n", idTWCC, extTWCC, idMID, extMID)
		name := stream + "-" + t.MID
		fmt.Fprintf(&b, "a=msid:%s %s\r\n", stream, name)
		for i, ssrc := range t.SSRCs {
			if t.Kind == swarm.Video {
				fmt.Fprintf(&b, "a=ssrc-group:FID %d %d\r\n", ssrc, t.RTX[i])
			}
			fmt.Fprintf(&b, "a=ssrc:%d cname:%s\r\na=ssrc:%d msid:%s %s\r\n", ssrc, stream, ssrc, stream, name)
			if t.Kind == swarm.Video {
				fmt.Fprintf(&b, "a=ssrc:%d cname:%s\r\na=ssrc:%d msid:%s %s\r\n", t.RTX[i], stream, t.RTX[i], stream, name)
			}
		}
	}
	return b.String()
}

// answer accepts an offer of which everything is received: opus, VP8 and its RTX
// with the feedback and the extensions that the generator speaks.
func (s *sdp) answer(local swarm.Local) string {
	var b strings.Builder
	var mids []string
	for _, m := range s.media {
		if !m.rejected {
			mids = append(mids, m.mid)
		}
	}
	head(&b, local, "active", mids)
	for _, m := range s.media {
		if m.kind == "application" {
			line(&b, "m=application 9 "+m.proto+" webrtc-datachannel", local, m.mid, "sendrecv")
			b.WriteString("a=sctp-port:5000\r\na=max-message-size:262144\r\n")
			continue
		}
		var pts []uint8
		var body strings.Builder
		for _, pt := range m.order {
			codec := m.codecs[pt]
			switch {
			case codec == "opus":
				fmt.Fprintf(&body, "a=rtpmap:%d opus/48000/2\r\na=fmtp:%d minptime=10;useinbandfec=1\r\na=rtcp-fb:%d transport-cc\r\n", pt, pt, pt)
			case codec == "vp8":
				fmt.Fprintf(&body, "a=rtpmap:%d VP8/90000\r\n", pt)
				for _, fb := range []string{"ccm fir", "nack", "nack pli", "goog-remb", "transport-cc"} {
					fmt.Fprintf(&body, "a=rtcp-fb:%d %s\r\n", pt, fb)
				}
			case codec == "rtx" && m.codecs[m.apt[pt]] == "vp8":
				fmt.Fprintf(&body, "a=rtpmap:%d rtx/90000\r\na=fmtp:%d apt=%d\r\n", pt, pt, m.apt[pt])
			default:
				continue
			}
			pts = append(pts, pt)
		}
		if m.rejected || len(pts) == 0 {
			fmt.Fprintf(&b, "m=%s 0 %s 0\r\na=mid:%s\r\na=inactive\r\n", m.kind, m.proto, m.mid)
			continue
		}
		var text []string
		for _, pt := range pts {
			text = append(text, strconv.Itoa(int(pt)))
		}
		direction := "recvonly"
		if m.direction == "inactive" {
			direction = "inactive"
		}
		line(&b, "m="+m.kind+" 9 "+m.proto+" "+strings.Join(text, " "), local, m.mid, direction)
		b.WriteString(body.String())
		for _, uri := range slices.Sorted(slices.Values([]string{extAudioLevel, extTWCC, extAbsTime, extMID})) {
			if id, ok := m.exts[uri]; ok {
				fmt.Fprintf(&b, "a=extmap:%d %s\r\n", id, uri)
			}
		}
	}
	return b.String()
}
