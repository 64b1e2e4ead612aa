package bridge

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"confab/bridge/rtpx"
	"confab/bridge/transport"
	"confab/xmpp/xep/colibri2"
)

// clientEnd is a client at the other end of an endpoint's transport.
type clientEnd struct {
	t     *transport.Transport
	batch *transport.Batch
	up    chan struct{}
	heard chan []byte // RTP, as much as there is room for
	seq   uint16
}

func (c *clientEnd) RTP(p *rtpx.Packet) {
	select {
	case c.heard <- bytes.Clone(p.Bytes()):
	default:
	}
}
func (c *clientEnd) RTCP(*rtpx.Packet) {}
func (c *clientEnd) ChannelOpen()      {}
func (c *clientEnd) Message([]byte)    {}
func (c *clientEnd) State(s transport.State) {
	if s == transport.StateConnected {
		close(c.up)
	}
}

// connect brings the client of an endpoint as far as media.
func (w *world) connect(m *colibri2.Modified, id string) *clientEnd {
	w.t.Helper()
	tc := transport.DefaultConfig()
	tc.Port, tc.Bind, tc.PublicAddresses, tc.KeepaliveInterval = 0, []string{"127.0.0.1"}, []string{"127.0.0.1"}, time.Hour
	sockets, err := transport.Listen(tc, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = sockets.Close() })
	c := &clientEnd{up: make(chan struct{}), heard: make(chan []byte, 64), batch: sockets.NewBatch(0)}
	if c.t, err = sockets.New(transport.TransportConfig{Controlled: true}, c); err != nil {
		w.t.Fatal(err)
	}
	offer := remote(m.Endpoint(id).Transport.ICE)
	offer.Fingerprints[0].Setup = "passive"
	if err := c.t.SetRemote(offer); err != nil {
		w.t.Fatal(err)
	}
	d := c.t.Local()
	w.must(modify(fmt.Sprintf(`<endpoint id=%q><transport><transport xmlns="urn:xmpp:jingle:transports:ice-udp:1" ufrag=%q pwd=%q>`+
		`<fingerprint xmlns="urn:xmpp:jingle:apps:dtls:0" hash="sha-256" setup="active">%s</fingerprint></transport></transport></endpoint>`,
		id, d.Ufrag, d.Pwd, d.Fingerprints[0].Value)))
	select {
	case <-c.up:
	case <-time.After(patience):
		w.t.Fatalf("not connected: %s", c.t.State())
	}
	return c
}

// say sends a packet of audio.
func (c *clientEnd) say(t *testing.T) {
	t.Helper()
	c.seq++
	b := make([]byte, rtpx.HeaderSize+3)
	rtpx.PutHeader(b, 111, false, c.seq, 960*uint32(c.seq), 77)
	if err := c.batch.Add(c.t, b); err != nil {
		t.Error(err)
		return
	}
	c.batch.Flush()
}

// The others are told when nothing comes any more of somebody, and when it does again.
func TestWhoFallsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.InactiveAfter, c.InactiveNever, c.IdleTimeout = time.Second, time.Hour, 10*time.Second
	})
	m := w.must(createFirst)
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	w.expect(b, "ServerHello")
	c := w.connect(m, "aaaaaaaa")
	connectivity := func(active string) {
		t.Helper()
		if got := w.expect(b, "EndpointConnectivityStatusChangeEvent"); got["endpoint"] != "aaaaaaaa" || got["active"] != active {
			t.Fatalf("%v, want active %s", got, active)
		}
	}
	connectivity("false")
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				c.say(t)
			}
		}
	}()
	connectivity("true")
	close(done)
	<-stopped
	connectivity("false")
	if st := w.s.Stats(); st.Disconnected < 2 || st.Reconnected < 1 || st.ICESucceeded != 1 {
		t.Errorf("%d disconnected, %d reconnected, %d connected", st.Disconnected, st.Reconnected, st.ICESucceeded)
	}
	// The one who never had anything to lose is still there, the silent one goes.
	conf := w.conference()
	for deadline := time.Now().Add(patience); conf.size.Load() != 1; {
		if time.Now().After(deadline) {
			t.Fatalf("%d endpoints", conf.size.Load())
		}
		<-time.After(10 * time.Millisecond)
	}
}
