package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// nowhere is a leg that counts what would be sent to strangers.
type nowhere struct {
	at       netip.AddrPort
	messages int
	longest  int
}

func (*nowhere) network() string         { return "udp" }
func (n *nowhere) local() netip.AddrPort { return n.at }
func (n *nowhere) send(_ *flight, head, body []byte, _ *datagram.Destination) {
	n.messages++
	n.longest = max(n.longest, len(head)+len(body))
}

// turn.md §8.2 and §13 row 10: requests with forged sources cost no memory and at most
// the budget of answers.
func TestSpoofedRequests(t *testing.T) {
	w := serve(t, func(c *Config) { c.UnauthorizedRate, c.UnauthorizedTotal, c.RequestRate = 10, 5000, 20 })
	c := w.call("udp")
	c.nonce = []byte("0123456789abcdef01234567")
	f, leg := newFlight(0), &nowhere{at: w.UDPAddrs()[0]}
	requests := [][]byte{
		c.unsigned(stun.Allocate, overUDP),
		c.signed(stun.Allocate, overUDP), // 438
		c.signed(stun.Refresh, withTicket([]byte("0123456789abcdef"))),
		c.unsigned(stun.Connect), // a method that is not offered: 400
		c.unsigned(0x3ff),
	}
	c.start(stun.CreatePermission, stun.ID{}, nil)
	c.build.Sign(c.key) // 400
	requests = append(requests, bytes.Clone(c.build.Bytes()))
	flood := func(n int, source func() netip.AddrPort) (answers int) {
		leg.messages = 0
		for i := range n {
			f.now = w.Server.clock()
			w.message(f, arrival{leg: leg, from: source()}, requests[i%len(requests)])
			f.flush()
		}
		return leg.messages
	}
	anyone := func() netip.AddrPort {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], rand.Uint32()|1<<24)
		a[0] = a[0]%100 + 11 // not loopback, which is exempt
		return netip.AddrPortFrom(netip.AddrFrom4(a), uint16(rand.Uint32()))
	}
	one := netip.MustParseAddr("8.8.8.8")
	site := netip.MustParsePrefix("2001:db8:1:2::/64").Addr().As16()
	flood(1000, anyone) // the first of everything
	w.pass(time.Second)
	before := heap()
	if n := flood(100_000, anyone); n != 5000 {
		t.Errorf("%d answers to all in one second, of 5000", n)
	}
	if grown := heap() - before; grown > 256<<10 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	w.pass(time.Second)
	if n := flood(1000, func() netip.AddrPort { return netip.AddrPortFrom(one, uint16(rand.Uint32())) }); n != 10 {
		t.Errorf("%d answers to one address in one second, of 10", n)
	}
	w.pass(time.Second)
	if n := flood(1000, func() netip.AddrPort {
		binary.BigEndian.PutUint64(site[8:], rand.Uint64())
		return netip.AddrPortFrom(netip.AddrFrom16(site), 5000)
	}); n != 10 {
		t.Errorf("%d answers to one /64 in one second, of 10", n)
	}
	requests = [][]byte{c.unsigned(stun.Binding), c.unsigned(stun.Binding, raw(0x7777))}
	w.pass(time.Second)
	if n := flood(1000, func() netip.AddrPort { return netip.AddrPortFrom(one, 5000) }); n != 20 {
		t.Errorf("%d answers to Bindings of one address in one second, of 20", n)
	}
	if leg.longest > 20+20+16+28 { // 401: ERROR-CODE, REALM, NONCE
		t.Errorf("an answer of %d bytes", leg.longest)
	}
	if st := w.Stats(); st.Created != 0 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A flood from one address, of everything that it can think of, while packets of another
// client are relayed: all of those arrive.
func TestFloodSlowsNobody(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	good, p := w.login("udp"), newFar(t, local4)
	relayed := good.allocate()
	good.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	flooder := w.call("udp")
	flooder.nonce = bytes.Repeat([]byte("0"), nonceSize)
	junk := [][]byte{flooder.unsigned(stun.Allocate), flooder.signed(stun.Allocate, overUDP), flooder.unsigned(stun.Refresh),
		[]byte("\x40\x00\x00\x05hello"), []byte("\xff\xff\xff\xff"), flooder.unsigned(stun.Send | stun.Indication)}
	last := flooder.unsigned(stun.Binding)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for i := range 100 { // no more than a socket's buffer takes
				_, _ = flooder.conn.Write(junk[i%len(junk)])
			}
			_, _ = flooder.conn.Write(last)
			for {
				if b, err := flooder.next(); err != nil || stun.Message(b).Type() == stun.Binding|stun.Success {
					break
				}
			}
		}
	}()
	for i := range 300 {
		s := fmt.Sprint("packet ", i)
		good.sayOn(0x4000, s)
		p.hear(relayed, s)
		p.say(relayed, s)
		good.hearOn(0x4000, s)
	}
	close(stop)
	<-done
}

// Bounds of what one client with a good credential can have.
func TestGreedyClient(t *testing.T) {
	w := serve(t, func(c *Config) { c.Peers.Announced = func(netip.AddrPort) bool { return true } })
	c := w.login("udp")
	c.allocate()
	before := heap()
	for i := range 1030 {
		code := 0
		if i >= 1024 {
			code = 508
		}
		c.ask(stun.CreatePermission, code, peerAt(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 0)))
	}
	c.ask(stun.CreatePermission, 508, peerIP("192.0.2.1"), peerIP("192.0.2.2"))
	for i := range 70 {
		code := 0
		if i >= 64 {
			code = 508
		}
		c.ask(stun.ChannelBind, code, channel(0x4000+uint16(i)), peerAt(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), 1000+uint16(i))))
	}
	for i := range 5000 { // every one a new port of a permitted peer, which nothing gets to from loopback
		c.say(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), 2000+uint16(i)), "x")
		if i%100 == 99 { // no more than a socket's buffer takes
			c.settle()
		}
	}
	if st := w.Stats(); st.Unpermitted != 0 || st.PacketsToPeers != 5000 {
		t.Errorf("%+v", st)
	}
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("one allocation holds %d bytes", grown)
	}
	b := w.allocations()[0].bindings.Load()
	if len(b.permissions) != 1024 || len(b.channels) != 64 || len(b.peers) != 64 {
		t.Errorf("%d permissions, %d channels", len(b.permissions), len(b.channels))
	}
}

// One allocation after the other: nothing is left of them.
func TestChurn(t *testing.T) {
	w := serve(t, nil)
	c := w.login("udp")
	turn := func() {
		c.allocate(withTicket(nil))
		c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
		c.ask(stun.Refresh, 0, lifetime(0))
	}
	for range 100 {
		turn()
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	for range 1000 {
		turn()
	}
	w.pass(31 * time.Second)
	c.settle()
	if grown := heap() - before; grown > 512<<10 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	w.counted(0)
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.live)+len(w.relayeds)+len(w.tickets)+len(w.reserved) != 0 {
		t.Error("something is left")
	}
}

// A connection that says nothing, or half of something, costs a little memory and no
// goroutine, and keeps nobody else waiting.
func TestManyConnections(t *testing.T) {
	if !datagram.CanStream {
		t.Skip("connections have goroutines here")
	}
	w := serve(t, func(c *Config) { c.ConnsPerAddress, c.PendingPerAddress, c.AuthTimeout = 1000, 1000, time.Hour })
	good, p := w.login("tcp"), newFar(t, local4)
	relayed := good.allocate()
	good.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	const many = 300
	goroutines, before := runtime.NumGoroutine(), heap()
	l := w.listeners[0]
	for i := range many {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			if _, err := conn.Write([]byte("\x00\x01\x00\x80half")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := 0; n <= many; runtime.Gosched() { // all have been accepted
		l.mu.Lock()
		n = len(l.conns)
		l.mu.Unlock()
	}
	for i := range 100 {
		s := fmt.Sprint("packet ", i)
		good.sayOn(0x4000, s)
		p.hear(relayed, s)
		p.say(relayed, s)
		good.hearOn(0x4000, s)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if grown := (heap() - before) / many; grown > 4<<10 {
		t.Errorf("%d bytes for each, with the test's end", grown)
	}
}

// Nothing is allocated per relayed packet, in either direction, in either form, over
// either kind of leg.
func TestNoAllocationPerPacket(t *testing.T) {
	if !datagram.CanShare {
		t.Skip("package net allocates")
	}
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := serve(t, func(c *Config) { c.MaxBps = 0 })
	for _, network := range []string{"udp", "tcp"} {
		for _, form := range []string{"channel", "indication"} {
			c, p := w.login(network), newFar(t, local4)
			relayed := c.allocate()
			c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
			text := strings.Repeat("x", 1200)
			out := c.unsigned(stun.Send|stun.Indication, peerAt(p.addr), data(text))
			if form == "channel" {
				c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
				out = append(stun.AppendChannelHeader(nil, 0x4000, len(text)), text...)
			}
			_ = c.conn.SetReadDeadline(time.Now().Add(patience))
			_ = p.conn.SetReadDeadline(time.Now().Add(patience))
			buf := make([]byte, 2000)
			there := func() {
				if _, err := c.conn.Write(out); err != nil {
					t.Fatal(err)
				}
				if _, _, err := p.conn.ReadFromUDPAddrPort(buf); err != nil {
					t.Fatal(err)
				}
			}
			payload := []byte(text)
			back := func() {
				if _, err := p.conn.WriteToUDPAddrPort(payload, relayed); err != nil {
					t.Fatal(err)
				}
				if _, err := c.conn.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
			for way, f := range map[string]func(){"to the peer": there, "to the client": back} {
				for range 50 {
					f()
				}
				// The sweep, once a second, may fall into one of the runs.
				if n := testing.AllocsPerRun(500, f); n != 0 {
					t.Errorf("%s, %s, %s: %v allocations per packet", network, form, way, n)
				}
			}
		}
	}
}
