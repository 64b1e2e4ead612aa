package xmpp

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestStanzaRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := DefaultConfig()
		r := newStanzaRates(&c)
		begin := time.Now()
		for range 3 + 3 { // three at once, then one and a half per second
			if err := r.wait(t.Context(), &Stanza{Kind: Message}); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("six messages took %v", d)
		}
		begin = time.Now()
		for range 100 { // replies are not held back
			if err := r.wait(t.Context(), &Stanza{Kind: IQ, Type: TypeResult}); err != nil {
				t.Fatal(err)
			}
		}
		for range 15 {
			if err := r.wait(t.Context(), &Stanza{Kind: IQ, Type: TypeGet}); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("fifteen requests took %v", d)
		}
	})
}

func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := DefaultConfig()
		g := newGate(&c)
		far, loop := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1")
		var slowest time.Duration
		for range 100 {
			slowest = max(slowest, g.loginDelay(far))
			if d := g.loginDelay(loop); d != 0 {
				t.Fatalf("loopback waits %v", d)
			}
		}
		if slowest != c.LoginDelay {
			t.Errorf("logins wait up to %v", slowest)
		}
		time.Sleep(10 * time.Second) // of the bubble's clock
		if d := g.loginDelay(far); d != 0 {
			t.Errorf("ten seconds later a login waits %v", d)
		}

		// An account is slowed down wherever the guesses come from, an address
		// is refused whatever account it tries.
		ann := MustJID("ann@meet.test")
		for i := range 6 {
			if d := g.failed(loop, ann); (d > 0) != (i >= 5) {
				t.Errorf("guess %d is answered after %v", i+1, d)
			}
		}
		for i := range 20 {
			done, ok := g.try(far)
			if ok != (i < 10) {
				t.Errorf("try %d: %v", i+1, ok)
			}
			if ok {
				g.failed(far, JID{Local: string(rune('a' + i)), Domain: "meet.test"})
				done()
			}
		}
		time.Sleep(time.Minute)
		if _, ok := g.try(far); !ok {
			t.Error("refused after a minute")
		}
	})
}

func TestPeerKey(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::", "fe80::1%eth0": "fe80::",
	} {
		if got := peerKey(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
