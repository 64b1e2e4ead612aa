package main

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"confab/extdisco"
	"confab/extdisco/credential"
	"confab/extdisco/relay"
	"confab/xmpp"
)

// Allocations end when their session has been gone for goneTime; one that came back in
// between begins anew. Those of others stay.
func TestAllocationsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	var ring credential.Keyring
	user := credential.User{Name: "camera", Realm: "meet.example", Key: credential.Key("camera", "meet.example", "pass")}
	ring.Set([]credential.Secret{{Value: "north"}}, []credential.User{user})
	loopback := netip.MustParseAddr("127.0.0.1")
	cfg := relay.DefaultConfig()
	cfg.Realm, cfg.Credentials, cfg.Loops = "meet.example", &ring, 1
	cfg.UDP = []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}
	cfg.Relays = []relay.Address{{Bind: loopback, Public: loopback}}
	r, err := relay.Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := r.UDPAddrs()[0].String()
	allocate := func(username, password string) {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		c, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: at, TURNServerAddr: at, Conn: conn, Username: username, Password: password, Realm: "meet.example"})
		if err == nil {
			err = c.Listen()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if _, err := c.Allocate(); err != nil {
			t.Fatalf("%s: %v", username, err)
		}
	}

	ice := extdisco.NewList(extdisco.Settings{TTL: time.Hour, Servers: []extdisco.Server{{Type: "turn", Host: "a", Port: 3478, Transport: "udp"}}}, &ring, []byte("key"), nil)
	anna, bob := xmpp.MustJID("anna@meet.example/r"), xmpp.MustJID("bob@meet.example/r")
	for _, who := range []xmpp.JID{anna, anna, bob, {Domain: "auth.meet.example", Resource: "api x"}} {
		e := ice.Entries(who)[0]
		allocate(e.Username, e.Password)
	}
	elsewhere, err := credential.Secrets{"north"}.Mint(time.Now(), time.Hour, "k3v9")
	if err != nil {
		t.Fatal(err)
	}
	allocate(elsewhere.Username, elsewhere.Password)
	allocate("camera", "pass")

	now := time.Unix(1795293600, 0)
	var sessions []xmpp.JID
	d := &departures{relay: r, ids: ice, sessions: func() []xmpp.JID { return sessions }, now: func() time.Time { return now }, since: map[string]time.Time{}}
	others := []string{":camera", "k3v9", ice.ID(xmpp.JID{Domain: "auth.meet.example", Resource: "api x"})}
	for i, step := range []struct {
		after    time.Duration
		sessions []xmpp.JID
		anna     int // her allocations
		bob      int
		waiting  int // for their end, after it
	}{
		{0, []xmpp.JID{anna, bob}, 2, 1, 0},
		{time.Minute, []xmpp.JID{bob}, 2, 1, 1},
		{4 * time.Minute, []xmpp.JID{bob}, 2, 1, 1},
		{30 * time.Second, []xmpp.JID{anna}, 2, 1, 1}, // she is back, he is gone
		{goneTime - time.Second, nil, 2, 1, 2},
		{time.Second, nil, 2, 0, 1},
		{goneTime, nil, 0, 0, 0},
		{goneTime, nil, 0, 0, 0},
	} {
		now, sessions = now.Add(step.after), step.sessions
		d.look()
		users := r.Users()
		if users[ice.ID(anna)] != step.anna || users[ice.ID(bob)] != step.bob || len(d.since) != step.waiting {
			t.Errorf("step %d: %v, waiting %v", i, users, d.since)
		}
		for _, id := range others {
			if users[id] != 1 {
				t.Errorf("step %d: %s was ended: %v", i, id, users)
			}
		}
	}
	list, more := r.Allocations(0, 2)
	rest, _ := r.Allocations(list[1].Number, 2)
	numbers := []uint64{list[0].Number, list[1].Number, rest[0].Number}
	if !more || len(rest) != 1 || !slices.Equal(numbers, []uint64{4, 5, 6}) || list[0].Transport != "udp" || len(list[0].Relayed) != 1 {
		t.Errorf("%+v %v %+v", list, more, rest)
	}
	if r.EndNumber(4, "test") && !r.EndNumber(4, "test") && !r.EndNumber(1, "test") {
		return
	}
	t.Error("an allocation ends once, by its number")
}
