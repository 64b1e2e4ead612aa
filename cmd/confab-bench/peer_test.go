package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"confab/internal/swarm"
)

const janusAnswer = `v=0
o=- 1 1 IN IP4 192.0.2.2
s=VideoRoom 1
t=0 0
a=group:BUNDLE 0 1
a=ice-options:trickle
a=fingerprint:sha-256 BB:AB:1F
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 192.0.2.2
a=recvonly
a=mid:0
a=rtcp-mux
a=ice-ufrag:8vGz
a=ice-pwd:Xu0CyHfD
a=setup:active
a=rtpmap:111 opus/48000/2
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=candidate:1 1 udp 2015363327 192.0.2.2 43791 typ host
a=candidate:2 1 udp 2015363583 fd00::2 35767 typ host
a=candidate:3 1 tcp 2015363583 192.0.2.2 9 typ host tcptype active
m=video 9 UDP/TLS/RTP/SAVPF 96 97 98
a=recvonly
a=mid:1
a=rtpmap:96 VP8/90000
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:98 VP9/90000
a=extmap:3/recvonly http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=end-of-candidates
`

func TestReadsDescription(t *testing.T) {
	t.Parallel()
	d, err := parseSDP(janusAnswer)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.remote(false)
	want := swarm.Remote{Ufrag: "8vGz", Pwd: "Xu0CyHfD", Fingerprint: "BB:AB:1F", Address: netip.MustParseAddrPort("192.0.2.2:43791"), Controlling: true, Active: true}
	if err != nil || r != want {
		t.Errorf("transport %+v, %v; want %+v", r, err, want)
	}
	f := d.formats()
	if f.Opus != 111 || f.VP8 != 96 || f.VP8RTX != 97 || f.AudioLevel != 1 || f.TWCC != 3 || f.AbsSendTime != 0 {
		t.Errorf("formats %+v", f)
	}
	if f.Kinds[98] != swarm.None || f.Kinds[97] != swarm.RTX {
		t.Error("VP9 is received, or RTX isn't")
	}
	if r, err = d.remote(true); err != nil || r.Controlling {
		t.Errorf("who answers an offer controls ICE: %v, %v", r.Controlling, err)
	}
	for _, broken := range []string{"m=audio", "", strings.Replace(janusAnswer, "sha-256", "sha-1", 1), strings.ReplaceAll(janusAnswer, "udp 2", "tcp 2")} {
		if d, err := parseSDP(broken); err == nil {
			if _, err = d.remote(false); err == nil {
				t.Errorf("accepted: %.40q", broken)
			}
		}
	}
}

// What we offer is read back as it was meant, and the answer keeps to it.
func TestOffersAndAnswers(t *testing.T) {
	t.Parallel()
	local := swarm.Local{Ufrag: "abcd", Pwd: "secret", Fingerprint: "AA:BB", Address: netip.MustParseAddrPort("127.64.0.1:4000")}
	tracks := []*swarm.Track{swarm.NewAudio(120, 20*time.Millisecond, 30), swarm.NewVideo(30, swarm.Encoding{Bitrate: 1000})}
	text := offer(local, "stream", tracks)
	d, err := parseSDP(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.media) != 2 || d.media[0].mid != "0" || d.media[1].mid != "1" || tracks[1].MID != "1" || d.media[1].direction != "sendonly" {
		t.Errorf("sections of\n%s", text)
	}
	d.media[1].codecs[100], d.media[1].order = "h264", append(d.media[1].order, 100)
	back, err := parseSDP(d.answer(local))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(back.media[1].order, []uint8{ptVP8, ptRTX}) || back.media[1].direction != "recvonly" || back.get(back.media[1], "setup") != "active" {
		t.Errorf("answer %+v", back.media[1])
	}
	if f, g := back.formats(), d.formats(); f.Opus != ptOpus || f.TWCC != g.TWCC || f.AbsSendTime != idAbsTime {
		t.Errorf("formats %+v", f)
	}
}

func TestCandidate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"candidate:1 1 udp 2130706431 192.0.2.2 28601 typ host":                  "192.0.2.2:28601",
		"candidate:1 1 UDP 2130706431 192.0.2.2 28601 typ host ufrag xyz":        "192.0.2.2:28601",
		"candidate:1 1 tcp 1671430143 192.0.2.2 28602 typ host tcptype passive":  "",
		"candidate:1 1 udp 2130706431 fd00::2 28601 typ host":                    "",
		"candidate:1 1 udp 1 198.51.100.1 28601 typ srflx raddr 0.0.0.0 rport 0": "",
		"": "",
	} {
		got := (&iceCandidate{Candidate: text}).address()
		if want == "" && got.IsValid() || want != "" && got.String() != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestLiveKitToken(t *testing.T) {
	t.Parallel()
	parts := strings.Split(livekitPeer{key: "k", secret: "s"}.token("room", "who"), ".")
	if len(parts) != 3 {
		t.Fatal(parts)
	}
	mac := hmac.New(sha256.New, []byte("s"))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if sum, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil || !hmac.Equal(sum, mac.Sum(nil)) {
		t.Error("the signature is wrong")
	}
	var claims struct {
		Iss, Sub string
		Exp      int64
		Video    struct {
			Room     string
			RoomJoin bool
		}
	}
	b, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if err := json.Unmarshal(b, &claims); err != nil || claims.Iss != "k" || claims.Sub != "who" || claims.Video.Room != "room" || !claims.Video.RoomJoin || claims.Exp < time.Now().Unix() {
		t.Errorf("claims %s", b)
	}
}

func TestProtobuf(t *testing.T) {
	t.Parallel()
	b := pbUint(pbString(pbUint(nil, 1, 300), 9, "text"), 13, 0)
	type got struct {
		field int
		n     uint64
		text  string
	}
	var all []got
	for rest := b; len(rest) > 0; {
		field, n, body, next, ok := pbNext(rest)
		if !ok {
			t.Fatalf("%x", rest)
		}
		all = append(all, got{field, n, string(body)})
		rest = next
	}
	if want := []got{{1, 300, ""}, {9, 0, "text"}, {13, 0, ""}}; !slices.Equal(all, want) {
		t.Errorf("%v, want %v", all, want)
	}
	if typ, text, id := readDescription(description("offer", "v=0", 7)); typ != "offer" || text != "v=0" || id != 7 {
		t.Errorf("description %q %q %d", typ, text, id)
	}
	for _, broken := range [][]byte{{0x0a, 5, 1}, {0x80}, {0x0b}, {0x09, 1, 2}, {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if _, _, _, _, ok := pbNext(broken); ok {
			t.Errorf("%x was read", broken)
		}
	}
}
