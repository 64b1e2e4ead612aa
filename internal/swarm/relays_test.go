package swarm

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/turn/v5"
)

const relaySecret = "a secret for tests only"

// turnServer is a TURN server of other people's on loopback.
func turnServer(t *testing.T) (at map[string]netip.AddrPort) {
	t.Helper()
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}}) //nolint:gosec // a test
	if err != nil {
		t.Fatal(err)
	}
	all := func(net.Addr, net.IP) bool { return true }
	relays := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	s, err := turn.NewServer(turn.ServerConfig{
		Realm: "meet.test", AuthHandler: turn.LongTermTURNRESTAuthHandler(relaySecret, nil),
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: udp, RelayAddressGenerator: relays, PermissionHandler: all}},
		ListenerConfigs: []turn.ListenerConfig{
			{Listener: tcp, RelayAddressGenerator: relays, PermissionHandler: all},
			{Listener: secure, RelayAddressGenerator: relays, PermissionHandler: all},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return map[string]netip.AddrPort{"udp": udp.LocalAddr().(*net.UDPAddr).AddrPort(), "tcp": tcp.Addr().(*net.TCPAddr).AddrPort(),
		"tls": secure.Addr().(*net.TCPAddr).AddrPort()}
}

// Every packet of every kind of load comes through, and is counted once.
func TestRelays(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	servers := turnServer(t)
	for name, opt := range map[string]RelayOptions{
		"udp":                   {Transport: "udp", Size: 160, Up: true, Down: true},
		"udp, up, odd size":     {Transport: "udp", Size: 161, Up: true},
		"udp, indications, odd": {Transport: "udp", Size: 1199, Up: true, Down: true, Send: true},
		"udp, runs":             {Transport: "udp", Size: 1200, Up: true, Down: true, Run: 4, Segment: true},
		"udp, in a row":         {Transport: "udp", Size: 1200, Up: true, Down: true, Run: 3},
		"udp, paced":            {Transport: "udp", Size: 1200, Up: true, Down: true, Slot: 50 * time.Millisecond},
		"tcp":                   {Transport: "tcp", Size: 161, Up: true, Down: true},
		"tcp, indications":      {Transport: "tcp", Size: 162, Up: true, Down: true, Send: true},
		"tls":                   {Transport: "tls", Size: 1200, Up: true, Down: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt.Server, opt.Secret, opt.Allocations = servers[opt.Transport], relaySecret, 3
			r, err := NewRelays(opt)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Open(t.Context()); err != nil {
				t.Fatal(errors.Join(err, r.Close(t.Context())))
			}
			for range 2 {
				marks := 0
				f, err := r.Run(t.Context(), 200, 50*time.Millisecond, 300*time.Millisecond, func() error { marks++; return nil })
				if err != nil {
					t.Fatal(err)
				}
				if f.AllSent == 0 || f.AllReceived != f.AllSent || f.Duplicate+f.Foreign+f.Refused > 0 {
					t.Errorf("sent %d, received %d, %d twice, %d strange, %d refused", f.AllSent, f.AllReceived, f.Duplicate, f.Foreign, f.Refused)
				}
				if f.Sent == 0 || f.Due < f.Sent || f.Sent > f.AllSent || f.Late.N() != f.Received || marks != 2 {
					t.Errorf("of the measurement: due %d, sent %d, received %d, %d times, %d marks", f.Due, f.Sent, f.Received, f.Late.N(), marks)
				}
			}
			if (r.Cipher() != "") != (opt.Transport == "tls") {
				t.Errorf("cipher %q", r.Cipher())
			}
			if err := r.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A lost packet is missed, one that comes twice counts once, and in any order.
func TestRelaysCount(t *testing.T) {
	t.Parallel()
	r := &Relays{opt: RelayOptions{Size: 64}, window: true}
	l := &lane{a: &allocation{}}
	numbered := func(n uint64) []byte {
		b := make([]byte, 64)
		from := &lane{a: l.a, sent: n}
		r.stamp(b, from, 0)
		return b
	}
	for _, n := range []uint64{0, 1, 4, 3, 4, 3, 1, 200, 100, 199, 200} { // 2 is missing, and much
		r.arrived(l, numbered(n), 1)
	}
	// 100 is too old to tell whether it has been there.
	if f := r.flow; f.AllReceived != 6 || f.Duplicate != 5 || f.Foreign != 0 {
		t.Errorf("%d received, %d twice, %d strange", f.AllReceived, f.Duplicate, f.Foreign)
	}
	for _, change := range []func(b []byte) []byte{
		func(b []byte) []byte { return b[:63] },
		func(b []byte) []byte { b[0]++; return b },
		func(b []byte) []byte { b[7]++; return b },
		func(b []byte) []byte { b[63]++; return b },
	} {
		r.arrived(l, change(slices.Clone(numbered(300))), 1)
	}
	if f := r.flow; f.AllReceived != 6 || f.Foreign != 4 {
		t.Errorf("%d received, %d strange", f.AllReceived, f.Foreign)
	}
}

func TestRelaysBounds(t *testing.T) {
	t.Parallel()
	good := RelayOptions{Transport: "udp", Size: 160, Allocations: 1, Up: true}
	for _, change := range []func(*RelayOptions){
		func(o *RelayOptions) { o.Allocations = 0 },
		func(o *RelayOptions) { o.Allocations = 10_000 },
		func(o *RelayOptions) { o.Size = RelayMinSize - 1 },
		func(o *RelayOptions) { o.Size = 1201 },
		func(o *RelayOptions) { o.Up = false },
		func(o *RelayOptions) { o.Network = netip.MustParsePrefix("::/16") },
	} {
		o := good
		change(&o)
		if _, err := NewRelays(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
