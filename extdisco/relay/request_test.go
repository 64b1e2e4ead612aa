package relay

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/extdisco/stun"
)

// RFC 8489 §9.2.4, turn.md §1.3.
func TestStrangersAreChallenged(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c := w.call("udp")
	for _, method := range []uint16{stun.Allocate, stun.Refresh, stun.CreatePermission, stun.ChannelBind} {
		c.write(c.unsigned(method, overUDP))
		m := c.answer()
		realm, _ := m.Get(stun.AttrRealm)
		nonce, _ := m.Get(stun.AttrNonce)
		if m.ErrorCode() != 401 || string(realm) != "meet.example" || len(nonce) != nonceSize || m.Has(stun.AttrMessageIntegrity) {
			t.Errorf("method %#x: code %d, realm %q, nonce %q", method, m.ErrorCode(), realm, nonce)
		}
		if m.Has(stun.AttrFingerprint) || m.Has(stun.AttrSoftware) {
			t.Error("an answer to a stranger is longer than it must be")
		}
		if v, _ := m.Get(stun.AttrErrorCode); string(v) != "\x00\x00\x04\x01Unauthorized" {
			t.Errorf("%q", v)
		}
	}
}

func TestWhatIsSignedBadly(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.StaleNonce = 10 * time.Minute })
	c := w.login("udp")
	good := func(list ...attribute) {
		c.start(stun.Allocate, c.id(), append([]attribute{overUDP}, list...))
		c.build.Sign(c.key)
		c.write(c.build.Bytes())
	}
	user, realm, nonce := raw(stun.AttrUsername, []byte(c.username)...), raw(stun.AttrRealm, []byte("meet.example")...), raw(stun.AttrNonce, c.nonce...)
	for _, list := range [][]attribute{{realm, nonce}, {user, nonce}, {user, realm}, nil,
		{raw(stun.AttrUsername, bytes.Repeat([]byte("1"), 509)...), realm, nonce}} {
		good(list...)
		if v := c.expect(stun.Allocate, 400, stun.AttrErrorCode); string(v[4:]) != "Bad Request" {
			t.Errorf("%q", v)
		}
	}
	good(user, raw(stun.AttrRealm, []byte("elsewhere.example")...), nonce)
	c.expect(stun.Allocate, 401, stun.AttrRealm, stun.AttrNonce)

	expires := w.clock.Now().Add(time.Hour)
	for _, change := range []func(){
		func() { c.as("k3v9", expires, "south") },                            // wrong integrity
		func() { c.as("k3v9", w.clock.Now().Add(-time.Second), "north") },    // expired
		func() { c.username = "nobody"; c.key = []byte("something") },        // unknown
		func() { c.as("k3v9", expires, "north"); c.key = []byte("a guess") }, // of a known user
	} {
		change()
		c.write(c.signed(stun.Allocate, overUDP))
		c.expect(stun.Allocate, 401, stun.AttrRealm, stun.AttrNonce)
	}
	c.as("k3v9", expires, "north")
	cut := c.signed(stun.Allocate, overUDP)
	cut[3] -= 4 // MESSAGE-INTEGRITY of 16 bytes
	cut[len(cut)-21] -= 4
	c.write(cut[:len(cut)-4])
	c.expect(stun.Allocate, 401, stun.AttrNonce)
	changed := c.signed(stun.Allocate, overUDP)
	changed[24] = 99 // the transport
	c.write(changed)
	c.expect(stun.Allocate, 401, stun.AttrNonce)
	if st := w.Stats(); st.Allocations != 0 || st.BadCredential != 7 {
		t.Errorf("%+v", st)
	}
	c.allocate()
}

// turn.md §7.7.
func TestNonces(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.StaleNonce = 10 * time.Minute })
	c := w.login("udp")
	first := c.nonce
	stale := func(nonce []byte) {
		t.Helper()
		c.nonce = nonce
		c.write(c.signed(stun.Allocate, overUDP))
		c.expect(stun.Allocate, 438, stun.AttrRealm)
		c.write(c.signed(stun.Allocate, overUDP))
		c.nonce = bytes.Clone(c.expect(stun.Allocate, 438, stun.AttrNonce))
	}
	other := w.login("udp")
	stale(other.nonce) // issued to another address
	flipped := bytes.Clone(first)
	flipped[len(flipped)-1] ^= 1
	stale(flipped)
	stale([]byte("0123456789abcdef0123456z"))
	stale(nil)
	stale(w.nonces.make(w.UDPAddrs()[0], w.clock.Now()))
	c.nonce = first
	c.allocate()
	w.pass(10*time.Minute - time.Second)
	c.ask(stun.Refresh, 0)
	w.pass(2 * time.Second)
	c.write(c.signed(stun.Refresh))
	fresh := bytes.Clone(c.expect(stun.Refresh, 438, stun.AttrNonce))
	c.nonce = fresh
	c.ask(stun.Refresh, 0)
	if bytes.Equal(fresh, first) {
		t.Error("the stale one was given again")
	}
}

// turn.md §13 row 8: after a restart the old nonce holds, and the old allocation is not
// there.
func TestRestart(t *testing.T) { // alone: others open ports too
	w := serve(t, nil)
	c := w.login("udp")
	c.allocate()
	at := w.UDPAddrs()[0]
	w.close()
	w.ended("server closed")
	again := serve(t, func(cfg *Config) { cfg.UDP = []netip.AddrPort{at} })
	c.world = again
	c.ask(stun.Refresh, 437)
	c.allocate()
}

func TestWithoutAnAllocation(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for _, network := range []string{"udp", "tcp"} {
		c := w.login(network)
		c.ask(stun.Refresh, 437)
		c.ask(stun.Refresh, 437, lifetime(0))
		c.ask(stun.CreatePermission, 437, peerIP("127.0.0.1"))
		c.ask(stun.ChannelBind, 437, channel(0x4000), peerAt(netip.MustParseAddrPort("127.0.0.1:5000")))
		c.ask(stun.Refresh, 437, withTicket([]byte("0123456789abcdef")))
		c.ask(stun.Refresh, 437, withTicket(nil))
	}
}

// RFC 8656 §7.2: each thing that an Allocate request can be wrong about.
func TestAllocateIsRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	token := raw(stun.AttrReservationToken, []byte("12345678")...)
	even, pair := raw(stun.AttrEvenPort, 0), raw(stun.AttrEvenPort, 0x80)
	for _, network := range []string{"udp", "tcp"} {
		c := w.login(network)
		for _, r := range []struct {
			code int
			list []attribute
		}{
			{400, nil},
			{400, []attribute{raw(stun.AttrRequestedTransport, 17)}},
			{442, []attribute{raw(stun.AttrRequestedTransport, stun.TransportTCP, 0, 0, 0)}},
			{442, []attribute{raw(stun.AttrRequestedTransport, 99, 0, 0, 0)}},
			{400, []attribute{overUDP, even, token}},
			{400, []attribute{overUDP, raw(stun.AttrEvenPort)}},
			{400, []attribute{overUDP, token, ofFamily(1)}},
			{400, []attribute{overUDP, token, alsoFamily(2)}},
			{400, []attribute{overUDP, ofFamily(1), alsoFamily(2)}},
			{400, []attribute{overUDP, pair, alsoFamily(2)}},
			{400, []attribute{overUDP, alsoFamily(1)}},
			{400, []attribute{overUDP, raw(stun.AttrRequestedAddressFamily, 1)}},
			{400, []attribute{overUDP, raw(stun.AttrReservationToken, 1, 2, 3)}},
			{508, []attribute{overUDP, token}},
			{440, []attribute{overUDP, ofFamily(2)}}, // the relay has no IPv6
			{440, []attribute{overUDP, ofFamily(7)}},
			{400, []attribute{overUDP, withTicket([]byte("x"))}},
		} {
			m := c.ask(stun.Allocate, r.code, r.list...)
			if !m.Has(stun.AttrMessageIntegrity) {
				t.Errorf("%d is not signed", r.code)
			}
		}
		m := c.ask(stun.Allocate, 420, overUDP, raw(0x7777, 1), raw(0x8777, 1), raw(0x6666))
		if v, _ := m.Get(stun.AttrUnknownAttributes); string(v) != "\x77\x77\x66\x66" {
			t.Errorf("unknown: % x", v)
		}
	}
	if st := w.Stats(); st.Created != 0 || st.Refused[442] != 4 || st.Refused[508] != 2 {
		t.Errorf("%+v", st)
	}
	off := serve(t, func(c *Config) { c.Mobility = false })
	c := off.login("udp")
	c.ask(stun.Allocate, 405, overUDP, withTicket(nil))
	c.ask(stun.Refresh, 405, withTicket([]byte("0123456789abcdef")))
	c.allocate()
	c.ask(stun.Refresh, 405, withTicket([]byte("0123456789abcdef")))
}

func TestNoPortIsFree(t *testing.T) { // alone: others open ports too
	taken := newFar(t, local4) // a range of one port that somebody else has
	w := serve(t, func(c *Config) { c.MinPort, c.MaxPort = taken.addr.Port(), taken.addr.Port() })
	c := w.login("udp")
	c.ask(stun.Allocate, 508, overUDP)
	w.counted(0)
	if err := taken.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := c.allocate(); got != taken.addr {
		t.Errorf("%s, of a range of %s", got, taken.addr)
	}
	// A port at rest is better than none.
	c.ask(stun.Refresh, 0, lifetime(0))
	c.allocate()
}

// RFC 8656 §5: whose allocation it is.
func TestAnotherUser(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c := w.login("udp")
	c.allocate()
	owner, key := c.username, c.key
	c.as("somebody", w.clock.Now().Add(time.Hour), "north")
	c.ask(stun.Refresh, 441)
	c.ask(stun.CreatePermission, 441, peerIP("127.0.0.1"))
	c.ask(stun.ChannelBind, 441, channel(0x4000), peerAt(netip.MustParseAddrPort("127.0.0.1:5000")))
	c.ask(stun.Allocate, 437, overUDP)
	c.username, c.key = owner, key
	c.ask(stun.Refresh, 0)
}

// RFC 8656 §7.2: the 5-tuple is in use; a retransmission is told again what it was told.
func TestAllocateAgain(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for _, network := range []string{"udp", "tcp"} {
		c := w.login(network)
		request := c.signed(stun.Allocate, overUDP, raw(stun.AttrEvenPort, 0x80), lifetime(1200))
		c.write(request)
		first := bytes.Clone(c.answer())
		c.write(request)
		if again := c.answer(); !bytes.Equal(first, again) {
			t.Errorf("% x, first % x", again, first)
		}
		if !stun.Message(first).Has(stun.AttrReservationToken) {
			t.Error("no RESERVATION-TOKEN")
		}
		c.ask(stun.Allocate, 437, overUDP)
	}
	if n := w.Stats().Created; n != 2 {
		t.Errorf("%d allocations", n)
	}
}

// turn.md §13 row 9.
func TestLifetimes(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for _, r := range []struct {
		asked   []attribute
		granted int
	}{
		{nil, 600}, {[]attribute{lifetime(0)}, 600}, {[]attribute{lifetime(1)}, 600}, {[]attribute{lifetime(599)}, 600},
		{[]attribute{lifetime(1800)}, 1800}, {[]attribute{lifetime(3600)}, 3600}, {[]attribute{lifetime(7200)}, 3600},
		{[]attribute{lifetime(0xffffffff)}, 3600},
	} {
		c := w.login("udp")
		m := c.ask(stun.Allocate, 0, append(r.asked, overUDP)...)
		if got := granted(t, m); got != r.granted {
			t.Errorf("%v: %d granted", r.asked, got)
		}
		if r.asked != nil && granted(t, m) != 600 {
			if got := granted(t, c.ask(stun.Refresh, 0, r.asked...)); got != r.granted {
				t.Errorf("refresh %v: %d granted", r.asked, got)
			}
		}
		if got := granted(t, c.ask(stun.Refresh, 0, lifetime(0))); got != 0 {
			t.Errorf("deleted: %d granted", got)
		}
		w.ended("deleted")
		c.ask(stun.Refresh, 437)
	}
	if st := w.Stats(); st.Allocations != 0 {
		t.Errorf("%d allocations", st.Allocations)
	}
}

func TestAllocationExpires(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for _, network := range []string{"udp", "tcp"} {
		c := w.login(network)
		c.allocate(lifetime(600))
		w.pass(599 * time.Second)
		c.ask(stun.Refresh, 0, lifetime(1800)) // goes on from now
		w.pass(1799 * time.Second)
		c.settle()
		if n := w.Stats().Allocations; n != 1 {
			t.Fatalf("%d allocations", n)
		}
		w.pass(2 * time.Second)
		w.ended("expired")
		c.greet()
		c.ask(stun.Refresh, 437)
	}
}

// turn.md §4 and §13 rows 6 and 7.
func TestCredentialExpiresDuringAnAllocation(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.MaxSession = 2 * time.Hour; c.StaleNonce = 0 })
	c := w.login("udp")
	c.as("k3v9", w.clock.Now().Add(time.Minute), "north")
	c.allocate(lifetime(3600))
	w.pass(2 * time.Minute)
	c.ask(stun.Refresh, 0, lifetime(3600))
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(netip.MustParseAddrPort("127.0.0.1:5000")))
	other := w.login("udp")
	other.username, other.key = c.username, c.key
	other.write(other.signed(stun.Allocate, overUDP))
	other.expect(stun.Allocate, 401, stun.AttrNonce)
	w.pass(50 * time.Minute)
	c.ask(stun.Refresh, 0, lifetime(3600))
	w.pass(50 * time.Minute)
	c.ask(stun.Refresh, 0, lifetime(3600))
	w.pass(20 * time.Minute) // MaxSession after the expiry is over
	c.write(c.signed(stun.Refresh, lifetime(3600)))
	c.expect(stun.Refresh, 401, stun.AttrNonce)
	w.pass(time.Hour)
	w.ended("expired")
}

func TestSecretIsRotated(t *testing.T) {
	t.Parallel()
	ring := &credential.Keyring{}
	ring.Set([]credential.Secret{{Value: "north"}}, nil)
	w := serve(t, func(c *Config) { c.Credentials = ring })
	c := w.login("udp")
	c.allocate()
	end := w.clock.Now().Add(time.Minute)
	ring.Set([]credential.Secret{{Value: "south"}, {Value: "north", Until: end}}, nil)
	for _, secret := range []string{"north", "south"} {
		d := w.login("udp")
		d.as("id", w.clock.Now().Add(time.Hour), secret)
		d.allocate()
	}
	w.pass(2 * time.Minute)
	d := w.login("udp")
	d.write(d.signed(stun.Allocate, overUDP))
	d.expect(stun.Allocate, 401, stun.AttrNonce)
	c.ask(stun.Refresh, 0) // it is known by its allocation
}

func TestDraining(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c := w.login("udp")
	c.allocate()
	w.Drain()
	d := w.login("tcp")
	d.ask(stun.Allocate, 486, overUDP)
	c.ask(stun.Refresh, 0)
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
}

func TestSTUNOnly(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.Credentials, c.Relays = nil, nil })
	c := w.call("udp")
	for _, method := range []uint16{stun.Allocate, stun.Refresh, stun.Connect} {
		c.write(c.unsigned(method, overUDP))
		c.expect(method, 400)
	}
	c.nonce = []byte("0123456789abcdef01234567")
	c.write(c.signed(stun.Allocate, overUDP))
	c.expect(stun.Allocate, 400)
	c.settle()
}

func TestOtherMethods(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c := w.call("udp")
	c.write(c.unsigned(0x00b))
	c.expect(0x00b, 400)
	// What is no request has no answer.
	c.write(c.unsigned(stun.Allocate | stun.Success))
	c.write(c.unsigned(stun.Binding | stun.Error))
	c.write(c.unsigned(stun.Binding | stun.Indication))
	c.write(c.unsigned(stun.Data | stun.Indication))
	c.write(c.unsigned(stun.Allocate | stun.Indication))
	c.settle()
}

// turn.md §13: quotas of a user, of an address and in all, and how they are given back.
func TestQuotas(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"user":    func(c *Config) { c.QuotaUser = 2 },
		"address": func(c *Config) { c.QuotaAddress = 2 },
		"total":   func(c *Config) { c.QuotaTotal = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, change)
			first, second, third := w.login("udp"), w.login("tcp"), w.login("udp")
			first.allocate()
			second.allocate()
			third.ask(stun.Allocate, 486, overUDP)
			other := w.login("udp")
			other.as("somebody else", w.clock.Now().Add(time.Hour), "north")
			if name == "user" {
				other.allocate()
			} else {
				other.ask(stun.Allocate, 486, overUDP)
			}
			if st := w.Stats(); st.OverQuota == 0 || st.Refused[486] == 0 {
				t.Errorf("%+v", st)
			}
			first.ask(stun.Refresh, 0, lifetime(0)) // deleted
			w.ended("deleted")
			third.allocate()
			third.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
			_ = second.conn.Close()
			w.ended("connection closed")
			first.allocate()
			second = w.login("udp")
			second.ask(stun.Allocate, 486, overUDP)
			left := w.Stats().Allocations
			w.pass(601 * time.Second)
			for range left {
				w.ended("expired")
			}
			w.counted(0)
			second.greet()
			second.allocate(lifetime(600))
			second.ask(stun.Refresh, 0, lifetime(0))
			w.ended("deleted")
			w.counted(0)
		})
	}
}

// FINGERPRINT (turn.md §5.1) and SOFTWARE.
func TestFingerprints(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c := w.call("udp")
	marked := func(b []byte) []byte {
		c.start(uint16(b[0])<<8|uint16(b[1]), stun.ID(b[8:20]), nil)
		c.build.Fingerprint()
		return bytes.Clone(c.build.Bytes())
	}
	for _, kind := range []uint16{stun.Binding, stun.Allocate} {
		c.write(c.unsigned(kind))
		if c.answer().Has(stun.AttrFingerprint) {
			t.Errorf("%#x: FINGERPRINT in an answer to a request without", kind)
		}
		c.write(marked(c.unsigned(kind)))
		if !c.answer().Has(stun.AttrFingerprint) {
			t.Errorf("%#x: none in an answer to a request with it", kind)
		}
	}
	wrong := marked(c.unsigned(stun.Binding))
	wrong[len(wrong)-1] ^= 1
	c.write(wrong) // is dropped
	c.settle()
	if got := w.Stats().Garbage; got != 1 {
		t.Errorf("%d dropped", got)
	}
	always := serve(t, func(c *Config) { c.FingerprintAlways, c.Software = true, "confab" })
	c = always.call("udp")
	for _, kind := range []uint16{stun.Binding, stun.Allocate} {
		c.write(c.unsigned(kind))
		m := c.answer()
		if v, _ := m.Get(stun.AttrSoftware); string(v) != "confab" || !m.Has(stun.AttrFingerprint) {
			t.Errorf("%#x: %q", kind, v)
		}
	}
}

// Sizes of answers to strangers: no amplifier (turn.md §8.2).
func TestAnswersToStrangersAreShort(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c := w.call("udp")
	for kind, most := range map[uint16]int{stun.Binding: 32, stun.Allocate: 20 + 20 + 16 + 28, stun.Connect: 20 + 20} {
		c.write(c.unsigned(kind))
		if n := len(c.answer()); n > most {
			t.Errorf("%#x: %d bytes", kind, n)
		}
	}
}

func TestBindingTellsWhereItCameFrom(t *testing.T) {
	t.Parallel()
	w := serve(t, dual(t))
	six := serve(t, func(c *Config) { c.UDP = []netip.AddrPort{netip.AddrPortFrom(local6, 0)} })
	for _, c := range []*caller{w.call("udp"), w.call("tcp"), six.call("udp")} {
		c.write(c.unsigned(stun.Binding))
		if got, want := address(t, c.answer(), stun.AttrXORMappedAddress).String(), c.conn.LocalAddr().String(); got != want {
			t.Errorf("%s, came from %s", got, want)
		}
		c.write(c.unsigned(stun.Binding, raw(0x7777, 1)))
		if v := c.expect(stun.Binding, 420, stun.AttrUnknownAttributes); !slices.Equal(v, []byte{0x77, 0x77}) {
			t.Errorf("% x", v)
		}
	}
}
