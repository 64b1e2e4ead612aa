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
			if err := r.wait(t.Context(), &Stanza{Kind: Message}, 100); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("six messages took %v", d)
		}
		begin = time.Now()
		for range 100 { // replies are not held back
			if err := r.wait(t.Context(), &Stanza{Kind: IQ, Type: TypeResult}, 100); err != nil {
				t.Fatal(err)
			}
		}
		for range 15 {
			if err := r.wait(t.Context(), &Stanza{Kind: IQ, Type: TypeGet}, 100); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("fifteen requests took %v", d)
		}
	})
}

// A moderator sends 400 people to breakout rooms with one click; who chats, or writes
// to the rooms on the same domain, is not taken for that.
func TestCommandRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := DefaultConfig()
		c.Commands = []string{"breakout.meet.example"}
		for to, want := range map[JID]time.Duration{
			MustJID("breakout.meet.example"):   0,
			MustJID("r@breakout.meet.example"): 397 * 2 * time.Second / 3,
			MustJID("breakout.meet.example/x"): 397 * 2 * time.Second / 3,
			MustJID("focus.meet.example"):      397 * 2 * time.Second / 3,
		} {
			r := newStanzaRates(&c)
			begin := time.Now()
			for range 400 {
				if err := r.wait(t.Context(), &Stanza{Kind: Message, To: to}, 300); err != nil {
					t.Fatal(err)
				}
			}
			if d := time.Since(begin); d < want-time.Millisecond || d > want+time.Millisecond {
				t.Errorf("to %s: %v, not %v", to, d, want)
			}
		}
		r := newStanzaRates(&c)
		begin := time.Now()
		for range 1500 {
			_ = r.wait(t.Context(), &Stanza{Kind: Message, To: MustJID("breakout.meet.example")}, 1)
		}
		if d := time.Since(begin); d < 4*time.Second-time.Millisecond {
			t.Errorf("1500 commands took only %v", d)
		}
	})
}

// Nobody can push a client over what it can read: not even with replies, which
// are not counted, does more than the largest stanza come at once.
func TestByteRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := DefaultConfig()
		r := newStanzaRates(&c)
		begin := time.Now()
		for range 11 { // the first at once, then 20 kB a second
			if err := r.wait(t.Context(), &Stanza{Kind: IQ, Type: TypeResult}, c.Stanza.Bytes); err != nil {
				t.Fatal(err)
			}
		}
		want := time.Duration(10*c.Stanza.Bytes/c.ByteRate) * time.Second
		if d := time.Since(begin); d < want || d > want+2*time.Second {
			t.Errorf("eleven replies of %d bytes took %v, not %v", c.Stanza.Bytes, d, want)
		}
		if err := r.wait(t.Context(), &Stanza{Kind: IQ, Type: TypeResult}, 10*c.Stanza.Bytes); err != nil {
			t.Errorf("larger than the bucket: %v", err) // BOSH bodies are checked one by one, but still
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
