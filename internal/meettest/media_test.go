package meettest

import (
	"log/slog"
	"sync"
	"testing"

	"confab/bridge/rtpx"
	bridge "confab/bridge/transport"
	"confab/xmpp/xep/jingle"
)

// mirror is a bridge that sends back what it gets and asks for key frames.
type mirror struct {
	mu    sync.Mutex
	t     *bridge.Transport
	batch *bridge.Batch
	open  chan struct{}
	said  chan string
}

func (m *mirror) RTP(p *rtpx.Packet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.batch.Add(m.t, p.Bytes()) == nil {
		m.batch.Flush()
	}
}
func (m *mirror) RTCP(*rtpx.Packet)  {}
func (m *mirror) State(bridge.State) {}
func (m *mirror) ChannelOpen()       { close(m.open) }
func (m *mirror) Message(b []byte) {
	select {
	case m.said <- string(b):
	default:
	}
}

func TestMediaThroughMirror(t *testing.T) {
	t.Parallel()
	cfg := bridge.DefaultConfig()
	cfg.Port, cfg.IPv6, cfg.PublicAddresses, cfg.SocketBuffer = 0, false, []string{"127.0.0.1"}, 0
	sockets, err := bridge.Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sockets.Close() }()
	m := &mirror{open: make(chan struct{}), said: make(chan string, 16)}
	m.mu.Lock()
	m.t, err = sockets.New(bridge.TransportConfig{Data: true, Private: true}, m)
	if err != nil {
		t.Fatal(err)
	}
	m.batch = sockets.NewBatch(0)
	m.mu.Unlock()
	defer func() { _ = m.t.Close() }()

	url, _ := host(t, true)
	c, err := Dial(wait(t), Options{URL: url, Domain: "meet.test", Media: Camera()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	tr, err := newTransport(c)
	if err != nil {
		t.Fatal(err)
	}
	f := Formats{Opus: 111, VP8: 100, VP8RTX: 96, AudioLevel: 1, TWCC: 5, AbsTime: 3, Data: true, Audio: true, Video: true}
	sess := &session{c: c, formats: f, transport: tr, channel: &bridgeChannel{c: c}}
	sess.sender, sess.receiver = newSender(c.local, tr, f), newReceiver(tr, f, c.changes)
	tr.onRTP, tr.onRTCP = sess.receiver.rtp, sess.rtcp
	own := &jingle.Jingle{Contents: []jingle.Content{{Description: &jingle.Description{}}, {Description: &jingle.Description{}}}}
	for i, media := range []string{jingle.Audio, jingle.Video} {
		d := own.Contents[i].Description
		d.Sources, d.Groups = c.local.signal(media)
		for k := range d.Sources {
			d.Sources[k].Owner = c.Nick()
		}
	}
	if rule := sess.receiver.signalled(own, true); rule != "" {
		t.Fatal(rule)
	}
	c.mu.Lock()
	c.session = sess
	c.mu.Unlock()
	local, err := tr.start(jingleTransport(m.t.Local()))
	if err != nil {
		t.Fatal(err)
	}
	err = m.t.SetRemote(bridge.Description{
		Ufrag: local.Ufrag, Pwd: local.Pwd,
		Fingerprints: []bridge.Fingerprint{{Hash: "sha-256", Setup: "active", Value: local.Fingerprints[0].Value}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.run(sess.receiver.feedback)
	if err := c.Media(wait(t)); err != nil {
		t.Fatal(err)
	}
	sess.sender.start()
	for _, class := range []string{"SourceVideoTypeMessage", "ReceiverVideoConstraints"} {
		select {
		case got := <-m.said:
			if got == "" {
				t.Error(class)
			}
		case <-wait(t).Done():
			t.Fatal("no " + class)
		}
	}
	err = c.Until(wait(t), "its own film and voice", func() bool {
		v, a := c.Stats(c.local.videoName), c.Stats(c.local.audioName)
		return v.Frames >= 30 && v.KeyFrames >= 3 && a.Frames >= 30
	})
	v, a := c.Stats(c.local.videoName), c.Stats(c.local.audioName)
	if err != nil || v.Jumps+a.Jumps+v.Broken > 0 || len(v.SSRCs) != 3 || len(c.Strange()) != 0 {
		t.Errorf("%v\nvideo %+v\naudio %+v\nstrange %v", err, v, a, c.Strange())
	}

	// Nobody wants the video: it stops; wanted again it begins with key frames.
	c.local.constrain(c.local.videoName, 0)
	c.SendForeign(77, 3)
	if err := c.Until(wait(t), "the foreign packets", func() bool { return c.Strange()[77] == 3 }); err != nil {
		t.Error(err)
	}
	err = c.Until(wait(t), "the camera to stop", func() bool {
		sess.sender.mu.Lock()
		defer sess.sender.mu.Unlock()
		return sess.sender.video[0].enc.keyWanted
	})
	if err != nil {
		t.Error(err)
	}
	keys := c.Stats(c.local.videoName).KeyFrames
	c.local.constrain(c.local.videoName, 360)
	if err := c.Until(wait(t), "two key frames", func() bool { return c.Stats(c.local.videoName).KeyFrames >= keys+2 }); err != nil {
		t.Error(err)
	}
	if p := c.Path(); p != "host" {
		t.Errorf("path %q", p)
	}
}

func jingleTransport(d bridge.Description) *jingle.Transport {
	out := &jingle.Transport{Ufrag: d.Ufrag, Pwd: d.Pwd}
	for _, k := range d.Candidates {
		out.Candidates = append(out.Candidates, jingle.Candidate{Protocol: k.Protocol, IP: k.Addr.Addr().String(), Port: k.Addr.Port(), Priority: k.Priority, Foundation: k.Foundation, Component: 1})
	}
	for _, p := range d.Fingerprints {
		out.Fingerprints = append(out.Fingerprints, jingle.Fingerprint{Hash: p.Hash, Setup: p.Setup, Value: p.Value})
	}
	return out
}
