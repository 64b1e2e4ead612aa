package transport

// A whole pion/webrtc PeerConnection as client, fed with an offer as the focus
// would write it.

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// offerSDP writes a description as the offer of one audio and one data section.
func offerSDP(d Description, ssrc uint32) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1")
	for mid, m := range []string{"audio 9 UDP/TLS/RTP/SAVPF 111", "application 9 UDP/DTLS/SCTP webrtc-datachannel"} {
		line("m=%s\r\nc=IN IP4 0.0.0.0\r\na=mid:%d", m, mid)
		line("a=ice-ufrag:%s\r\na=ice-pwd:%s", d.Ufrag, d.Pwd)
		f := d.Fingerprints[0]
		line("a=fingerprint:%s %s\r\na=setup:actpass", f.Hash, f.Value)
		for _, c := range d.Candidates {
			line("a=candidate:%s %d %s %d %s %d typ %s generation %d", c.Foundation, c.Component, c.Protocol,
				c.Priority, c.Addr.Addr(), c.Addr.Port(), c.Type, c.Generation)
		}
		if mid == 0 {
			line("a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:%d cname:bridge\r\na=ssrc:%d msid:mixed a0", ssrc, ssrc)
		} else {
			line("a=sctp-port:5000\r\na=max-message-size:262144")
		}
	}
	return b.String()
}

// answer reads the fields of an SDP answer that signalling would carry.
func answer(sdp string) Description {
	var d Description
	var f Fingerprint
	for _, l := range strings.Split(sdp, "\r\n") {
		if v, ok := strings.CutPrefix(l, "a=ice-ufrag:"); ok {
			d.Ufrag = v
		}
		if v, ok := strings.CutPrefix(l, "a=ice-pwd:"); ok {
			d.Pwd = v
		}
		if v, ok := strings.CutPrefix(l, "a=fingerprint:"); ok {
			f.Hash, f.Value, _ = strings.Cut(v, " ")
		}
		if v, ok := strings.CutPrefix(l, "a=setup:"); ok {
			f.Setup = v
		}
	}
	d.Fingerprints = []Fingerprint{f}
	return d
}

func newPeer(t *testing.T) *webrtc.PeerConnection {
	t.Helper()
	var se webrtc.SettingEngine
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	se.SetIncludeLoopbackCandidate(true)
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	se.LoggerFactory = quiet
	var me webrtc.MediaEngine
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(&me)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	return pc
}

func TestPeerConnection(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	h := newHeard()
	tr, err := s.New(TransportConfig{Data: true}, h)
	if err != nil {
		t.Fatal(err)
	}

	pc := newPeer(t)
	const down = 0x2222
	fromBridge := make(chan *rtp.Packet, 16)
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			fromBridge <- p
		}
	})
	// reference/bridge.md §6.1: label, protocol, ordered and reliable.
	protocol := "http://jitsi.org/protocols/colibri"
	dc, err := pc.CreateDataChannel("JVB data channel", &webrtc.DataChannelInit{Protocol: &protocol})
	if err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	dc.OnOpen(func() { close(open) })
	messages := make(chan string, 16)
	dc.OnMessage(func(m webrtc.DataChannelMessage) {
		if m.IsString {
			messages <- string(m.Data)
		}
	})
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "a0", "me")
	if err != nil {
		t.Fatal(err)
	}
	sender, err := pc.AddTrack(track)
	if err != nil {
		t.Fatal(err)
	}
	reports := make(chan []rtcp.Packet, 16)
	go func() {
		for {
			p, _, err := sender.ReadRTCP()
			if err != nil {
				return
			}
			select {
			case reports <- p:
			default:
			}
		}
	}()

	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offerSDP(tr.Local(), down)}); err != nil {
		t.Fatal(err)
	}
	ans, err := pc.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetLocalDescription(ans); err != nil {
		t.Fatal(err)
	}
	if err := tr.SetRemote(answer(ans.SDP)); err != nil {
		t.Fatal(err)
	}
	h.waitState(t, StateConnected)
	wait(t, open, "open data channel at the client")
	wait(t, h.open, "open data channel at the bridge")

	// Messages, from tiny to the limit, and one beyond it.
	for _, size := range []int{1, 1000, 60_000} {
		text := strings.Repeat("x", size)
		if err := dc.SendText(text); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, h.messages, "message at the bridge"); got != text {
			t.Errorf("bridge got %d bytes, want %d", len(got), size)
		}
		if err := tr.SendMessage([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, messages, "message at the client"); got != text {
			t.Errorf("client got %d bytes, want %d", len(got), size)
		}
	}
	if err := dc.SendText(strings.Repeat("y", 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := dc.Send([]byte("binary")); err != nil {
		t.Fatal(err)
	}
	if err := dc.SendText("after"); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, h.messages, "message after a long one"); got != "after" {
		t.Errorf("bridge got %.20q", got)
	}
	if st := tr.Stats(); st.MessagesDropped != 2 {
		t.Errorf("dropped %d messages, want the long and the binary one", st.MessagesDropped)
	}
	second, err := pc.CreateDataChannel("another", nil)
	if err != nil {
		t.Fatal(err)
	}
	secondClosed := make(chan struct{})
	second.OnClose(func() { close(secondClosed) })
	wait(t, secondClosed, "refusal of the second channel")
	if st := tr.Stats(); st.ChannelsRejected != 1 {
		t.Errorf("rejected %d channels", st.ChannelsRejected)
	}

	// RTP and RTCP.
	if err := track.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: 7}, Payload: []byte("up")}); err != nil {
		t.Fatal(err)
	}
	var up rtp.Packet
	if err := up.Unmarshal(wait(t, h.rtp, "rtp at the bridge")); err != nil || string(up.Payload) != "up" {
		t.Errorf("bridge got %v, %v", up, err)
	}
	if err := pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: down}}); err != nil {
		t.Fatal(err)
	}
	wait(t, h.rtcp, "rtcp at the bridge")
	b := s.NewBatch(0)
	raw, err := (&rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: 111, SequenceNumber: 9, SSRC: down},
		Payload: []byte("down"),
	}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(tr, raw); err != nil {
		t.Fatal(err)
	}
	b.Flush()
	if got := wait(t, fromBridge, "rtp at the client"); string(got.Payload) != "down" {
		t.Errorf("client got %v", got)
	}
	raw, err = (&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: up.SSRC}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.AddRTCP(tr, raw); err != nil {
		t.Fatal(err)
	}
	b.Flush()
	wait(t, reports, "rtcp at the client")

	if err := pc.GracefulClose(); err != nil && err != io.EOF {
		t.Error(err)
	}
	// It aborts SCTP, and only sometimes says goodbye in DTLS.
	until(t, "channel closed", func() bool { return tr.SendMessage([]byte("gone")) != nil })
}
