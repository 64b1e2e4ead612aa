package relay

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"confab/extdisco/stun"
)

// hostile is one who asks for what he must not have, n times, and says what he got.
type hostile struct {
	*caller
	n int
}

// each sends n requests, one after the answer to the other, and checks what each gets.
func (h hostile) each(what string, request func(i int) []byte, code func(i int) int) {
	for i := range h.n {
		if _, err := h.conn.Write(request(i)); err != nil {
			h.t.Errorf("%s: %v", what, err)
			return
		}
		b, err := h.next()
		m, ok := stun.Parse(b)
		if err != nil || !ok || m.ID() != h.lastID() || m.ErrorCode() != code(i) {
			h.t.Errorf("%s: request %d: %v, % x", what, i, err, clip(b))
			return
		}
	}
}

func always(code int) func(int) int { return func(int) int { return code } }

// What the issue asks for: bad MACs, replayed nonces, oversized lifetimes, a flood of
// permissions and half-open connections, all at once, from one who has a credential. He is
// given what the bounds say and no more; the packets of somebody else arrive all the while,
// and when it is over nothing is left of it. The log has the figures.
func TestHostileClient(t *testing.T) {
	const (
		requests = 2000
		pending  = 40
		pings    = 400
	)
	w := serve(t, func(c *Config) {
		c.PendingPerAddress, c.AuthTimeout = pending, time.Hour
		c.Peers.Announced = func(netip.AddrPort) bool { return true }
	})
	good, p := w.login("udp"), newFar(t, local4)
	relayed := good.allocate()
	good.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	ping := func() []time.Duration {
		took := make([]time.Duration, pings)
		for i := range took {
			began := time.Now()
			good.sayOn(0x4000, "there")
			p.hear(relayed, "there")
			p.say(relayed, "back")
			good.hearOn(0x4000, "back")
			took[i] = time.Since(began)
		}
		slices.Sort(took)
		return took
	}
	badMAC := hostile{w.login("udp"), requests}
	badMAC.key = bytes.Repeat([]byte{1}, 16)
	thief, robbed := hostile{w.call("udp"), requests}, w.login("udp")
	thief.nonce = robbed.nonce
	long, flood := hostile{w.login("udp"), requests}, hostile{w.login("tcp"), requests}
	long.as("hostile", w.clock.Now().Add(time.Hour), "north")
	flood.as("hostile", w.clock.Now().Add(time.Hour), "north")
	long.allocate()
	flood.allocate()
	quiet := ping()
	before, goroutines := heap(), runtime.NumGoroutine()

	var all sync.WaitGroup
	began := time.Now()
	all.Go(func() {
		badMAC.each("a bad MAC", func(int) []byte { return badMAC.signed(stun.Allocate, overUDP) }, always(401))
	})
	all.Go(func() {
		thief.each("a replayed nonce", func(int) []byte { return thief.signed(stun.Allocate, overUDP) }, always(438))
	})
	all.Go(func() {
		long.each("an oversized lifetime", func(int) []byte { return long.signed(stun.Refresh, lifetime(0xffffffff)) }, always(0))
	})
	all.Go(func() {
		flood.each("a flood of permissions", func(i int) []byte {
			list := make([]attribute, 8)
			for j := range list {
				var a [4]byte
				binary.BigEndian.PutUint32(a[:], 0x0b000000+uint32(len(list)*i+j))
				list[j] = peerAt(netip.AddrPortFrom(netip.AddrFrom4(a), 0))
			}
			return flood.signed(stun.CreatePermission, list...)
		}, func(i int) int {
			if i < w.cfg.Permissions/8 {
				return 0
			}
			return 508
		})
	})
	var halfOpen []net.Conn
	all.Go(func() {
		for range requests / 2 {
			conn, err := net.Dial("tcp", w.listeners[0].Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.Write([]byte{0, 1, 0}) // not even a header; it may have been refused already
			halfOpen = append(halfOpen, conn)
		}
	})
	under := ping()
	all.Wait()
	took := time.Since(began)
	for w.Stats().Pending+int(w.Stats().OverBudget) < requests/2 { // the last are accepted yet
		good.settle()
	}
	grown, more := heap()-before, runtime.NumGoroutine()-goroutines

	st := w.Stats()
	t.Logf("%d requests and %d connections in %v; heap %+d KiB, %+d goroutines", 4*requests, requests/2, took.Round(time.Millisecond), grown>>10, more)
	t.Logf("round trip of another client: median %v, worst %v; before: median %v, worst %v", under[pings/2], under[pings-1], quiet[pings/2], quiet[pings-1])
	if st.Pending != pending || st.Allocations != 3 || st.BadCredential != requests || st.Refused[438] != requests || st.Refused[508] == 0 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
	if most := int64(2<<20 + pending*16<<10); grown > most {
		t.Errorf("the heap has grown by %d bytes, of at most %d", grown, most)
	}
	if most := 4*pending + 20; more > most {
		t.Errorf("%d goroutines more, of at most %d", more, most)
	}
	for _, a := range w.allocations() {
		a.mu.Lock()
		if a.granted > w.cfg.MaxLifetime || len(a.bindings.Load().permissions) > w.cfg.Permissions {
			t.Errorf("%s for %v with %d permissions", a.user, a.granted, len(a.bindings.Load().permissions))
		}
		a.mu.Unlock()
	}
	for _, conn := range halfOpen {
		_ = conn.Close()
	}
	for w.Stats().Pending > 0 {
		good.settle()
	}
	for _, h := range []hostile{long, flood} {
		h.ask(stun.Refresh, 0, lifetime(0))
	}
	if left := heap() - before; left > 1<<20 {
		t.Errorf("%d bytes are left of it", left)
	}
	ping()
}
