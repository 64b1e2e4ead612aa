package relay

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// judge is a leg that looks at what would be sent, also by the event loop: what ICMP says
// of peers that are not there.
type judge struct {
	t  *testing.T
	at netip.AddrPort

	mu   sync.Mutex
	over bool
	last []byte
}

// adjourn has it look no more.
func (j *judge) adjourn() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.over = true
}

func (*judge) network() string         { return "udp" }
func (j *judge) local() netip.AddrPort { return j.at }

func (j *judge) send(_ *flight, head, body []byte, _ *datagram.Destination) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over {
		return
	}
	b := append(append(j.last[:0], head...), body...)
	j.last = b
	if b[0]>>6 == 1 {
		if _, data, ok := stun.ParseChannelData(b); !ok || len(data) != len(b)-stun.ChannelHeaderSize {
			j.t.Errorf("sends % x", clip(b))
		}
	} else if m, ok := stun.Parse(b); !ok || m.Class() == stun.Request {
		j.t.Errorf("sends % x", clip(b))
	} else if _, valid := m.Fingerprinted(); !valid {
		j.t.Errorf("sends % x", clip(b))
	}
}

// What the first byte of a step of FuzzServer means.
const (
	stepRaw     = iota // a datagram as it is
	stepSigned         // attributes of a request: a method, then they
	stepChannel        // ChannelData
	stepPeer           // from a peer
	stepWait           // seconds
	stepOther          // the next are of another client
	steps
)

// FuzzServer: whatever two clients and their peers send, over datagrams that are signed
// where they should be, nothing panics, what is answered are good messages, and nothing
// is left behind.
func FuzzServer(f *testing.F) {
	step := func(kind byte, b []byte) []byte {
		return append([]byte{kind, byte(len(b) >> 8), byte(len(b))}, b...)
	}
	join := func(list ...[]byte) (out []byte) {
		for _, b := range list {
			out = append(out, b...)
		}
		return out
	}
	var w stun.Builder
	attributes := func(method uint16, list ...attribute) []byte {
		w.Start(method, stun.ID{})
		for _, a := range list {
			if a.addr.IsValid() {
				w.AddXORAddress(a.kind, a.addr)
			} else {
				w.Add(a.kind, a.value)
			}
		}
		return step(stepSigned, append([]byte{byte(method)}, w.Bytes()[stun.HeaderSize:]...))
	}
	peer := netip.MustParseAddrPort("127.0.0.1:5000")
	allocate := attributes(stun.Allocate, overUDP, withTicket(nil))
	f.Add(join(allocate, attributes(stun.CreatePermission, peerAt(peer)), attributes(stun.ChannelBind, channel(0x4000), peerAt(peer)),
		step(stepChannel, []byte("\x40\x00\x00\x05hello")), step(stepPeer, []byte("hello")), attributes(stun.Refresh, lifetime(0))))
	f.Add(join(allocate, attributes(stun.CreatePermission, peerAt(peer)), step(stepWait, []byte{200, 200}),
		attributes(stun.CreatePermission, peerAt(peer), peerIP("127.0.0.2")), step(stepPeer, make([]byte, 1200))))
	f.Add(join(attributes(stun.Allocate, overUDP, raw(stun.AttrEvenPort, 0x80)), step(stepOther, nil), attributes(stun.Allocate, overUDP, alsoFamily(2)),
		attributes(stun.Refresh, ofFamily(1), lifetime(0))))
	f.Add(join(allocate, step(stepOther, nil), attributes(stun.Refresh, withTicket([]byte("0123456789abcdef"))), step(stepWait, []byte{31})))
	w.Start(stun.Send|stun.Indication, stun.ID{})
	w.AddXORAddress(stun.AttrXORPeerAddress, peer)
	w.AddString(stun.AttrData, "hello")
	f.Add(join(allocate, attributes(stun.CreatePermission, peerAt(peer)), step(stepRaw, w.Bytes())))
	w.Start(stun.Binding, stun.ID{})
	w.AddUint32(stun.AttrChangeRequest, 6)
	f.Add(step(stepRaw, w.Bytes()))

	clock := newClock()
	cfg := testConfig(clock.Now)
	cfg.UDP, cfg.TCP, cfg.Loops, cfg.StaleNonce, cfg.ICMP = nil, nil, 1, 0, true
	cfg.Relays = append(cfg.Relays, Address{Bind: local6, Public: local6})
	cfg.Channels, cfg.Permissions = 3, 3
	s, err := Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
	here := &udpLocal{addr: netip.MustParseAddrPort("127.0.0.1:3478")}
	here.alternate = [2][2]*udpLocal{{here, here}, {here, here}}
	here.other = here.addr
	var runs atomic.Uint32
	f.Fuzz(func(t *testing.T, in []byte) {
		fl, leg := newFlight(0), &judge{t: t, at: here.addr}
		defer leg.adjourn()
		base := uint16(runs.Add(1))
		var clients [2]*client
		who := 0
		var id stun.ID
		for n := 0; len(in) >= 3 && n < 40; n++ {
			kind, size := in[0]%steps, int(binary.BigEndian.Uint16(in[1:]))
			in = in[3:]
			b := in[:min(size, len(in))]
			in = in[len(b):]
			fl.now = s.clock()
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(base >> 8), byte(base)}), 5000+uint16(who))
			at := arrival{leg: leg, from: from, client: clients[who], loop: s.loops[0]}
			message := func(b []byte) {
				if c := s.message(fl, at, b); c != nil {
					clients[who] = c
				}
			}
			switch kind {
			case stepRaw:
				message(b)
			case stepSigned:
				if len(b) == 0 || len(b) > 10_000 {
					break
				}
				id[0]++
				w.Start(uint16(b[0])&0xf, id)
				raw := b[1:]
				for len(raw) >= 4 { // whole attributes
					k, l := binary.BigEndian.Uint16(raw), int(binary.BigEndian.Uint16(raw[2:]))
					if raw = raw[4:]; l > len(raw) {
						break
					}
					w.Add(k, raw[:l])
					raw = raw[min(len(raw), (l+3)&^3):]
				}
				username := "1800000000:k3v9"
				w.AddString(stun.AttrUsername, username)
				w.AddString(stun.AttrRealm, cfg.Realm)
				w.Add(stun.AttrNonce, s.nonces.make(from, clock.Now()))
				w.Sign(keyOf("north", username, cfg.Realm))
				message(w.Bytes())
			case stepChannel:
				s.channelData(fl, clients[who], b)
			case stepPeer:
				if a := s.allocationOf(clients[who]); a != nil {
					for _, r := range a.relays {
						if r != nil {
							r.fromPeer(fl, netip.AddrPortFrom(r.relayed.Addr(), 5000+uint16(len(b)%3)), b)
						}
					}
				}
			case stepWait:
				for _, seconds := range b {
					clock.ns.Add(int64(seconds) * int64(time.Second))
				}
			case stepOther:
				who = 1 - who
			}
			fl.flush()
		}
		for _, a := range s.allocations() {
			if b := a.bindings.Load(); len(b.channels) > 3 || len(b.peers) > 3 || len(b.permissions) > 3 {
				t.Fatalf("%d channels, %d permissions", len(b.channels), len(b.permissions))
			}
			s.finish(a, "end of the run")
		}
		s.sweepShared(clock.Now().Add(time.Minute))
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.total != 0 || len(s.live)+len(s.relayeds)+len(s.tickets)+len(s.reserved)+len(s.byUser)+len(s.byAddr) != 0 {
			t.Fatalf("%d counted, %d tickets, %d reserved", s.total, len(s.tickets), len(s.reserved))
		}
		for _, c := range clients {
			if c != nil && c.held.Load() != nil {
				t.Fatal("a client holds what has ended")
			}
		}
	})
}

// FuzzStream: whatever pieces a stream comes in, the frames are the same.
func FuzzStream(f *testing.F) {
	var w stun.Builder
	w.Start(stun.Binding, stun.ID{})
	binding := append([]byte{}, w.Bytes()...)
	f.Add(append(append([]byte{}, binding...), "\x40\x00\x00\x05hello\x00\x00\x00"...), byte(3))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), byte(1))
	f.Add([]byte("\x40\x00\xff\xff"), byte(1))
	clock := newClock()
	cfg := testConfig(clock.Now)
	cfg.UDP, cfg.TCP, cfg.Loops = nil, nil, 1
	s, err := Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		feed := func(step int) (answers []byte, end int) {
			x := &stream{listener: newListener(s, nil, "tls"), kind: "tls", kick: make(chan struct{}, 1)}
			x.client = &client{leg: x, addr: netip.MustParseAddrPort("127.0.0.1:5000")}
			fl := newFlight(0)
			var have []byte
			for rest := in; len(rest) > 0; {
				n := min(step, len(rest))
				have, rest = append(have, rest[:n]...), rest[n:]
				used, _ := x.frames(fl, have)
				fl.flush()
				if used < 0 {
					return x.next(nil), -1
				}
				have = have[used:]
			}
			return x.next(nil), len(have)
		}
		whole, end := feed(len(in) + 1)
		pieces, end2 := feed(int(step) + 1)
		if end != end2 || kinds(whole) != kinds(pieces) {
			t.Fatalf("ends %d and %d, answers %q and %q", end, end2, kinds(whole), kinds(pieces))
		}
	})
}

// kinds are the types of messages; nonces in them differ.
func kinds(b []byte) (out string) {
	for len(b) >= 4 {
		out += string(b[:2])
		b = b[stun.FrameSize(b):]
	}
	return out
}
