package transport

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"go.uber.org/goleak"

	"confab/bridge/rtpx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A client without candidates connects; GCM is chosen although it prefers
// SHA-1; media and reports flow both ways.
func TestConnect(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, nil)

	if got := tr.Stats().Profile; got != "SRTP_AEAD_AES_128_GCM" {
		t.Errorf("profile %s", got)
	}
	d := tr.Local()
	if len(d.Candidates) != 1 || d.Candidates[0].Type != "host" || d.Candidates[0].Priority != 2130706431 ||
		d.Candidates[0].Addr != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(s.Port())) {
		t.Errorf("candidates %+v", d.Candidates)
	}
	if d.Fingerprints[0].Setup != "passive" {
		t.Errorf("setup %q after the client said active", d.Fingerprints[0].Setup)
	}

	exchange(t, s, tr, h, c, 1)

	st := tr.Stats()
	if st.Remote != c.nat.addr() || st.PacketsIn == 0 || st.PacketsOut == 0 || st.Active == 0 {
		t.Errorf("stats %+v", st)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	h.waitState(t, StateClosed)
	if st := s.Stats(); st.Transports != 0 || st.Addresses != 0 || s.transactions.size() != 0 || len(s.ufrags) != 0 {
		t.Errorf("left behind: %+v", st)
	}
}

// exchange sends RTP and RTCP in both directions and checks what arrives.
func exchange(t *testing.T, s *Sockets, tr *Transport, h *heard, c *client, seq uint16) {
	t.Helper()
	up := rtpPacket(0x1111, seq, "from the client")
	c.send(up)
	if got := wait(t, h.rtp, "rtp at the bridge"); !bytes.Equal(got, up) {
		t.Errorf("bridge got %x, want %x", got, up)
	}
	c.send(receiverReport(0x1111))
	if got := wait(t, h.rtcp, "rtcp at the bridge"); !bytes.Equal(got, receiverReport(0x1111)) {
		t.Errorf("bridge got %x", got)
	}

	down := rtpPacket(0x2222, seq, "from the bridge")
	b := s.NewBatch(0)
	if err := b.Add(tr, down); err != nil {
		t.Fatal(err)
	}
	if b.Len() != 1 || b.Flush() != 1 || b.Len() != 0 {
		t.Error("flush did not send the packet")
	}
	if got := wait(t, c.rtp, "rtp at the client"); !bytes.Equal(got, down) {
		t.Errorf("client got %x, want %x", got, down)
	}
	if err := b.AddRTCP(tr, receiverReport(0x2222)); err != nil || b.Flush() != 1 {
		t.Error(err)
	}
	if got := wait(t, c.rtcp, "rtcp at the client"); !bytes.Equal(got, receiverReport(0x2222)) {
		t.Errorf("client got %x", got)
	}
}

func TestOnlySHA1(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, func(_ *TransportConfig, c *client) {
		c.profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80}
	})
	if got := tr.Stats().Profile; got != "SRTP_AES128_CM_HMAC_SHA1_80" {
		t.Errorf("profile %s", got)
	}
	exchange(t, s, tr, h, c, 1)
}

// The client leaves: DTLS close_notify is noticed at once.
func TestPeerCloses(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, nil)
	c.close()
	h.waitState(t, StateFailed)
	if !errors.Is(tr.Err(), ErrPeerClosed) {
		t.Errorf("err %v", tr.Err())
	}
	if err := s.NewBatch(0).Add(tr, rtpPacket(1, 1, "")); err != nil && !errors.Is(err, ErrNotConnected) {
		t.Error(err)
	}
	// ICE ends with it, so that a client that is still there notices.
	until(t, "no agent to be left", func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return len(s.ufrags) == 0
	})
	if err := tr.SetRemote(Description{Ufrag: "otherufrag", Pwd: "0123456789012345678901"}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("other credentials: %v", err)
	}
}

func TestWrongFingerprint(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	h, c := newHeard(), newClient(t)
	c.liar = true
	tr, err := s.New(TransportConfig{}, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.SetRemote(c.dial(tr.Local())); err != nil {
		t.Fatal(err)
	}
	if err := c.secure(); err == nil {
		t.Error("the client's handshake succeeded")
	}
	h.waitState(t, StateFailed)
	if !errors.Is(tr.Err(), ErrFingerprint) {
		t.Errorf("err %v", tr.Err())
	}
	if err := s.NewBatch(0).Add(tr, rtpPacket(1, 1, "")); !errors.Is(err, ErrNotConnected) {
		t.Errorf("a refused client can be sent to: %v", err)
	}
}

// A packet that is right in every bit but comes from elsewhere is dropped; so
// is a packet sent twice.
func TestForeignAndReplayed(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, nil)
	bridge := net.UDPAddrFromAddrPort(s.Locals()[0])

	stranger, err := net.DialUDP("udp4", nil, bridge)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	packet := c.encrypt(rtpPacket(0x1111, 1, "one"))
	if _, err := stranger.Write(packet); err != nil {
		t.Fatal(err)
	}
	until(t, "stranger's packet counted", func() bool { return s.Stats().Strangers > 0 })

	for range 2 {
		if _, err := c.nat.WriteTo(packet, bridge); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "replay counted", func() bool { return tr.Stats().DecryptFailures == 1 })
	c.send(rtpPacket(0x1111, 2, "two"))
	for _, want := range []uint16{1, 2} {
		if got := wait(t, h.rtp, "rtp"); got[3] != byte(want) {
			t.Errorf("got sequence number %d, want %d", got[3], want)
		}
	}
}

// until polls a counter; there is no event to wait for when something is dropped.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// An ICE restart, with media before, during and after.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := listen(t, func(c *Config) { c.RestartTransition = 50 * time.Millisecond })
	tr, h, c := connect(t, s, nil)
	first := tr.Local()
	exchange(t, s, tr, h, c, 1)

	d, err := tr.Restart()
	if err != nil {
		t.Fatal(err)
	}
	if d.Generation != 1 || d.Ufrag == first.Ufrag || d.Pwd == first.Pwd || d.Fingerprints[0].Value != first.Fingerprints[0].Value {
		t.Errorf("restart described as %+v", d)
	}
	if again, err := tr.Restart(); err != nil || again.Ufrag != d.Ufrag || again.Generation != 1 {
		t.Errorf("asked twice: %+v, %v", again, err)
	}
	exchange(t, s, tr, h, c, 2)
	if err := tr.SetRemote(Description{Ufrag: "abcdef", Pwd: "0123456789012345678901", Generation: 7}); !errors.Is(err, ErrGeneration) {
		t.Errorf("an answer to no restart: %v", err)
	}
	old := c.agents[0]
	if err := tr.SetRemote(c.dial(d)); err != nil {
		t.Fatal(err)
	}
	exchange(t, s, tr, h, c, 3)
	until(t, "second agent in charge", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.cur.generation == 1 && tr.next == nil
	})
	_ = old.Close()
	until(t, "old agent gone", func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return len(s.ufrags) == 1
	})
	exchange(t, s, tr, h, c, 4)
	if tr.State() != StateConnected {
		t.Errorf("state %v", tr.State())
	}
}

// The client changes networks and asks for a restart from its new address: it goes on
// under the same keys, before and after its consent has run out.
func TestRestartFromAnotherAddress(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("consent lost ", lost), func(t *testing.T) {
			t.Parallel()
			s := listen(t, func(c *Config) {
				c.RestartTransition, c.RenominateAfter = 50*time.Millisecond, time.Hour // only the restart moves it
				if lost {
					c.KeepaliveInterval = 20 * time.Millisecond
					c.DisconnectedTimeout, c.FailedTimeout = 1500*time.Millisecond, 1500*time.Millisecond
				}
			})
			tr, h, c := connect(t, s, nil)
			exchange(t, s, tr, h, c, 1)
			before := tr.Stats()
			old := c.agents[0]
			if lost {
				_ = old.Close() // it answers no more
				h.waitState(t, StateFailed)
			}
			c.nat.rebind(t)
			d, err := tr.Restart()
			if err != nil || d.Generation != 1 {
				t.Fatalf("%+v, %v", d, err)
			}
			if err := tr.SetRemote(c.dial(d)); err != nil {
				t.Fatal(err)
			}
			until(t, "the new address is used", func() bool { return tr.Stats().Remote == c.nat.addr() && tr.State() == StateConnected })
			exchange(t, s, tr, h, c, 2)
			if st := tr.Stats(); st.Remote == before.Remote || st.Profile != before.Profile {
				t.Errorf("%+v, before %+v", st, before)
			}
			if r := s.Stats().Restarts; r.Started != 1 || r.Succeeded != 1 || r.Failed != 0 {
				t.Errorf("%+v", r)
			}
			if !lost {
				_ = old.Close()
			}
		})
	}
}

// A restart that nobody answers is abandoned and harms nothing.
func TestRestartAbandoned(t *testing.T) {
	t.Parallel()
	s := listen(t, func(c *Config) { c.RestartTimeout = 20 * time.Millisecond })
	tr, h, c := connect(t, s, nil)
	if _, err := tr.Restart(); err != nil {
		t.Fatal(err)
	}
	until(t, "pending agent gone", func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return len(s.ufrags) == 1
	})
	exchange(t, s, tr, h, c, 1)
}

func TestRestartBeforeConnected(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, err := s.New(TransportConfig{}, newHeard())
	if err != nil {
		t.Fatal(err)
	}
	d, err := tr.Restart()
	if err != nil || d.Generation != 0 || d.Ufrag != tr.Local().Ufrag {
		t.Errorf("restart of an idle transport: %+v, %v", d, err)
	}
}

// Without DTLS nothing is left to restart: the focus must learn that.
func TestRestartAfterDTLSFailed(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, nil)
	c.close()
	h.waitState(t, StateFailed)
	if d, err := tr.Restart(); !errors.Is(err, ErrNotConnected) {
		t.Errorf("restart: %+v, %v", d, err)
	}
}

// Somebody who would take either role gets ours named, and DTLS comes about.
func TestActpassIsAnsweredActive(t *testing.T) {
	t.Parallel()
	s1, s2 := listen(t, nil), listen(t, nil)
	h1, h2 := newHeard(), newHeard()
	bridge, err := s1.New(TransportConfig{}, h1)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := s2.New(TransportConfig{Controlled: true}, h2)
	if err != nil {
		t.Fatal(err)
	}
	d := peer.Local()
	if d.Fingerprints[0].Setup != "actpass" {
		t.Fatalf("setup %q before a role is known", d.Fingerprints[0].Setup)
	}
	if err := bridge.SetRemote(d); err != nil {
		t.Fatal(err)
	}
	if got := bridge.Local().Fingerprints[0].Setup; got != "active" {
		t.Errorf("setup %q in answer to actpass", got)
	}
	if err := peer.SetRemote(bridge.Local()); err != nil {
		t.Fatal(err)
	}
	h1.waitState(t, StateConnected)
	h2.waitState(t, StateConnected)
}

// The client's NAT gives it another address: the transport follows.
func TestClientMoves(t *testing.T) {
	t.Parallel()
	s := listen(t, func(c *Config) { c.RenominateAfter = 100 * time.Millisecond })
	var moved atomic.Int32
	tr, h, c := connect(t, s, func(c *TransportConfig, _ *client) { c.Moved = func() { moved.Add(1) } })
	exchange(t, s, tr, h, c, 1)

	before := moved.Load()
	c.nat.rebind(t)
	until(t, "the new address is used", func() bool { return tr.Stats().Remote == c.nat.addr() })
	exchange(t, s, tr, h, c, 2)
	if moved.Load() == before {
		t.Error("nobody was told")
	}
	if tr.State() != StateConnected {
		t.Errorf("state %v", tr.State())
	}
}

// The client falls silent: consent runs out.
func TestConsentLost(t *testing.T) {
	t.Parallel()
	s := listen(t, func(c *Config) {
		c.KeepaliveInterval = 20 * time.Millisecond
		c.DisconnectedTimeout, c.FailedTimeout = 1500*time.Millisecond, 1500*time.Millisecond
	})
	tr, h, c := connect(t, s, nil)
	_ = c.nat.Close()
	h.waitState(t, StateFailed)
	if !errors.Is(tr.Err(), ErrICE) {
		t.Errorf("err %v", tr.Err())
	}
	if err := s.NewBatch(0).Add(tr, rtpPacket(1, 1, "")); !errors.Is(err, ErrNotConnected) {
		t.Errorf("sending without consent: %v", err)
	}
}

// More than the limit is dropped before decryption.
func TestIngressLimit(t *testing.T) {
	t.Parallel()
	now := int64(1)
	s := listen(t, func(c *Config) {
		c.MaxIngressPackets = 10
		c.Clock = func() int64 { return now } // time stands still
	})
	tr, h, c := connect(t, s, nil)
	const sent = 40
	for seq := range uint16(sent) {
		c.send(rtpPacket(0x1111, seq, ""))
	}
	until(t, "all are counted", func() bool { return tr.Stats().OverLimit+uint64(len(h.rtp)) == sent })
	// Packets count from when the kernel had them: on a busy machine up to a second lies
	// between the first and the last, and lets in as many again.
	if n := len(h.rtp); n < 10 || n > 20 {
		t.Errorf("%d of %d came in", n, sent)
	}
}

// A client may not fill memory with SSRCs: only the latest have all their state.
func TestSSRCLimit(t *testing.T) {
	t.Parallel()
	s := listen(t, func(c *Config) { c.MaxSSRCs = 3 })
	tr, h, c := connect(t, s, nil)
	for ssrc := range uint32(5) {
		c.send(rtpPacket(ssrc+1, 1, ""))
	}
	for range 5 {
		wait(t, h.rtp, "rtp beyond the limit")
	}
	c.send(rtpPacket(2, 2, "again"))
	wait(t, h.rtp, "rtp of an SSRC of before")
	tr.in.mu.Lock()
	defer tr.in.mu.Unlock()
	if n := tr.in.rtp.Streams(); n != 3 {
		t.Errorf("%d SSRCs have state", n)
	}
}

// Both addresses of a flow arrive, whichever reader the kernel chooses, and a
// batch keeps order across transports.
func TestManyTransports(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	const n, packets = 6, 20
	var trs []*Transport
	var clients []*client
	for range n {
		tr, h, c := connect(t, s, nil)
		exchange(t, s, tr, h, c, 1)
		trs, clients = append(trs, tr), append(clients, c)
	}
	b := s.NewBatch(1)
	sent := 0
	for seq := range uint16(packets) {
		for i, tr := range trs {
			if b.Len() == batchSize {
				sent += b.Flush()
			}
			if err := b.Add(tr, rtpPacket(uint32(i), seq+1, fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if sent += b.Flush(); sent != n*packets {
		t.Errorf("sent %d packets, want %d", sent, n*packets)
	}
	for i, c := range clients {
		for seq := range uint16(packets) {
			if got := wait(t, c.rtp, "rtp"); !bytes.Equal(got, rtpPacket(uint32(i), seq+1, fmt.Sprint(i))) {
				t.Fatalf("client %d packet %d: %x", i, seq, got)
			}
		}
	}
}

func TestBadCredentials(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, err := s.New(TransportConfig{}, newHeard())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []Description{
		{Ufrag: "abc", Pwd: "0123456789012345678901"},
		{Ufrag: "abcd", Pwd: "short"},
		{Ufrag: "ab:d", Pwd: "0123456789012345678901"},
		{Pwd: "0123456789012345678901"},
	} {
		if err := tr.SetRemote(d); !errors.Is(err, ErrCredentials) {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

// A ClientHello in many pieces, as browsers with large key shares send it.
func TestFragmentedHello(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, func(_ *TransportConfig, c *client) { c.mtu = 100 })
	exchange(t, s, tr, h, c, 1)
}

// Two bridges: one controls and is the DTLS server, the other answers.
func TestBridgeToBridge(t *testing.T) {
	t.Parallel()
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			t.Parallel()
			if c, err := net.ListenPacket("udp", net.JoinHostPort(ip, "0")); err != nil {
				t.Skip(err)
			} else {
				_ = c.Close()
			}
			bridgeToBridge(t, ip)
		})
	}
}

func bridgeToBridge(t *testing.T, ip string) {
	at := func(c *Config) { c.PublicAddresses, c.IPv6 = []string{ip}, true }
	s1, s2 := listen(t, at), listen(t, at)
	h1, h2 := newHeard(), newHeard()
	one, err := s1.New(TransportConfig{}, h1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := s2.New(TransportConfig{Controlled: true}, h2)
	if err != nil {
		t.Fatal(err)
	}
	if err := two.SetRemote(one.Local()); err != nil {
		t.Fatal(err)
	}
	if err := one.SetRemote(two.Local()); err != nil {
		t.Fatal(err)
	}
	h1.waitState(t, StateConnected)
	h2.waitState(t, StateConnected)
	for _, way := range []struct {
		s  *Sockets
		tr *Transport
		h  *heard
	}{{s1, one, h2}, {s2, two, h1}} {
		b := way.s.NewBatch(0)
		if err := b.Add(way.tr, rtpPacket(5, 1, "relayed")); err != nil {
			t.Fatal(err)
		}
		b.Flush()
		if got := wait(t, way.h.rtp, "rtp"); !bytes.Equal(got, rtpPacket(5, 1, "relayed")) {
			t.Errorf("got %x", got)
		}
	}
	// An offerer's candidate list is what connected them: two never learnt
	// one's address otherwise.
	if two.Stats().Remote != s1.Locals()[0] {
		t.Errorf("two sends to %v", two.Stats().Remote)
	}
}

// A port that somebody else has is refused even if they would share it.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	c := testConfig()
	c.Port = s.Port()
	if other, err := Listen(c, slog.New(slog.DiscardHandler)); err == nil {
		_ = other.Close()
		t.Error("two bridges share a port")
	}
}

func TestClosedSockets(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, _ := connect(t, s, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	h.waitState(t, StateClosed)
	if _, err := s.New(TransportConfig{}, h); !errors.Is(err, ErrClosed) {
		t.Errorf("new after close: %v", err)
	}
	if _, err := tr.Restart(); !errors.Is(err, ErrClosed) {
		t.Errorf("restart after close: %v", err)
	}
	if err := tr.SetRemote(Description{}); !errors.Is(err, ErrClosed) {
		t.Errorf("set remote after close: %v", err)
	}
	if err := s.NewBatch(0).AddRTCP(tr, receiverReport(1)); !errors.Is(err, ErrNotConnected) {
		t.Errorf("rtcp after close: %v", err)
	}
	if err := tr.SendMessage(nil); !errors.Is(err, ErrNoChannel) {
		t.Errorf("message after close: %v", err)
	}
	if err := tr.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// clumsy panics at the first packet.
type clumsy struct{ *heard }

func (clumsy) RTP(*rtpx.Packet) { panic("clumsy") }

// A handler's panic ends its transport and nothing else.
func TestHandlerPanics(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, nil)
	tr.in.mu.Lock()
	tr.h = clumsy{h}
	tr.in.mu.Unlock()
	c.send(rtpPacket(1, 1, ""))
	h.waitState(t, StateFailed)
	if !errors.Is(tr.Err(), ErrPanic) {
		t.Errorf("err %v", tr.Err())
	}
	if n := s.Stats().Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
	other, h2, c2 := connect(t, s, nil)
	exchange(t, s, other, h2, c2, 1)
}
