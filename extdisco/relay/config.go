package relay

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"confab/extdisco/credential"
)

// Config is the relay's configuration; the names are those of the [turn] table.
type Config struct {
	Realm string
	// Credentials says who may relay; nil: STUN only.
	Credentials Credentials
	// UDP and TCP are the addresses listened on.
	UDP, TCP []netip.AddrPort
	// AltPort is the second UDP port of RFC 5780, opened on the addresses of UDP when
	// a family has two; 0: no NAT behaviour discovery.
	AltPort uint16
	// TLS listeners take TURN over TLS; their connections are *tls.Conn or carry
	// bytes already decrypted. What Switch has not been put below of has goroutines.
	TLS []net.Listener
	// PlainTLS has the TCP addresses take TLS as well; may be nil.
	PlainTLS *tls.Config
	// DTLS listeners take TURN over DTLS: what one Read returns is one message.
	DTLS []net.Listener
	// Proxied says which addresses are of proxies that speak the PROXY protocol to the TCP
	// addresses; nil: none. Listeners of TLS see to that themselves (ListenProxied).
	Proxied func(netip.Addr) bool
	// Public maps an address of UDP to what clients see of it; nil: itself.
	Public func(netip.Addr) netip.Addr
	// Relays are the addresses of relayed sockets. Of several of a family a client gets
	// the one that it has come to, if that is among them, else they take turns.
	Relays           []Address
	MinPort, MaxPort uint16
	// Bridge takes what goes to our own bridge without the kernel; may be nil.
	Bridge Bridge
	// NonceKey is what nonces are signed with; empty: one that this process makes.
	NonceKey []byte
	// TCPRelay offers RFC 6062, over TCP and TLS, to peers in Peers.Allowed only.
	TCPRelay bool
	// ICMP tells clients what ICMP says of their packets to peers (RFC 8656 §11.5). coturn
	// does not, and the client of pion/turn stops reading at the first such message.
	ICMP bool
	// TOS has packets between UDP clients and their peers keep DSCP and ECN (RFC 8656 §14). To
	// be told them by the kernel costs 1 to 3 % of a packet.
	TOS bool
	// Mobility offers RFC 8016.
	Mobility bool
	// SocketBuffer is the kernel's for listening sockets, in bytes.
	SocketBuffer int
	// Loops is the number of event loops; 0: one for each core.
	Loops int
	// ConnsPerAddress and Conns bound the TCP, TLS and DTLS connections, Queue the bytes
	// of media that wait for one of them.
	ConnsPerAddress, Conns, Queue int
	// PendingPerAddress, Pending and AuthTimeout bound those of them whose client has
	// shown no credential.
	PendingPerAddress, Pending int
	AuthTimeout                time.Duration
	// Policy is what Reload replaces.
	Policy
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Credentials tells who may sign requests.
type Credentials interface {
	// Lookup returns what a username stands for, expired or not. It is asked at the
	// rate of what strangers send and must not wait.
	Lookup(username, realm string, now time.Time) (credential.Identity, bool)
}

// Address is one address that relayed sockets are opened on.
type Address struct {
	Bind   netip.Addr // local address
	Public netip.Addr // what clients and peers see: Bind, or the outside of a one-to-one NAT
}

// DefaultConfig has the defaults of the [turn] table.
func DefaultConfig() Config {
	return Config{
		MinPort: 49152, MaxPort: 65535, Mobility: true, TOS: true, SocketBuffer: 4 << 20,
		ConnsPerAddress: 200, Conns: 10_000, Queue: 256 << 10,
		PendingPerAddress: 64, Pending: 2000, AuthTimeout: 20 * time.Second,
		Policy: Policy{
			Peers:     Peers{MinPort: 1024},
			QuotaUser: 12, QuotaAddress: 200, Permissions: 1024, Channels: 64, MaxBps: 5_000_000,
			RequestRate: 100, UnauthorizedRate: 100, UnauthorizedTotal: 5000,
			MaxLifetime: time.Hour, MaxSession: 24 * time.Hour, StaleNonce: 10 * time.Minute,
		},
	}
}

// The lifetimes of RFC 8656.
const (
	defaultLifetime    = 10 * time.Minute // §3.2; shorter is not given
	permissionLifetime = 5 * time.Minute  // §9
	channelLifetime    = 10 * time.Minute // §12
)

func (c *Config) complete() error {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Public == nil {
		c.Public = func(a netip.Addr) netip.Addr { return a }
	}
	if c.Loops <= 0 {
		c.Loops = min(runtime.GOMAXPROCS(0), runtime.NumCPU())
	}
	c.Policy.complete(c)
	if c.Credentials != nil && (len(c.Relays) == 0 || c.MinPort == 0 || c.MaxPort < c.MinPort) {
		return fmt.Errorf("relay range %d-%d on %d addresses", c.MinPort, c.MaxPort, len(c.Relays))
	}
	return nil
}
