// Package transport carries the media of every endpoint over one UDP port:
// sockets and their demultiplexer, ICE, DTLS, SRTP, and the SCTP data channel
// that carries the bridge channel. It is built on the pion components
// (ice.Agent, dtls.Conn, srtp.Context for RTCP, sctp.Association), not on PeerConnection.
//
// RFC 8445 (ICE), RFC 7675 (consent), RFC 7983 (demultiplexing), RFC 6347 and
// RFC 5764 (DTLS-SRTP), RFC 3711 and RFC 7714 (SRTP), RFC 8831 and RFC 8832
// (data channels).
//
// Rules of this package:
//   - Media and DTLS are accepted only from addresses that passed an
//     authenticated binding request of that very Transport; STUN is always
//     routed by ufrag or by transaction, never by address.
//   - A stranger's packet costs bounded work and leaves nothing behind.
//   - Receiving and sending allocate nothing per packet and log nothing.
//   - Handler.RTP and Handler.RTCP run on a socket reader, one call at a time
//     per Transport, and must not wait. State, ChannelOpen and Message run on
//     goroutines of the Transport. No Handler method may call Close.
//   - Things close in the order SRTP, DTLS, agent, sockets; every goroutine is
//     waited for.
package transport

import (
	"fmt"
	"runtime"
	"time"

	"github.com/pion/dtls/v3"

	"confab/bridge/rtpx"
	"confab/internal/datagram"
)

// Config holds what all transports of a process share, with every limit.
// Start from DefaultConfig; Listen refuses values that cannot work.
type Config struct {
	Port    int      // bridge.udp_port; 0 takes a free port
	Bind    []string // network.bind: local addresses or interface names; empty means every address
	Exclude []string // network.exclude: addresses or interface names left out
	IPv6    bool     // network.ipv6

	PublicAddresses  []string // network.public_addresses: "auto", IP, or PUBLIC/PRIVATE
	AdvertisePrivate bool     // network.advertise_private

	Sockets      int // bridge.sockets: readers per local address; 0 means one per CPU (always 1 off Linux)
	SocketBuffer int // bytes of kernel buffer asked for in each direction; 0 leaves the system's default

	SRTPProfiles []string // bridge.srtp_profiles in order of preference: "GCM-128", "CM-SHA1-80"
	UfragPrefix  string   // bridge.ufrag_prefix, for balancers that route by STUN username

	MaxIngress        int // bridge.max_ingress: bit/s of one transport, counted before decryption
	MaxIngressPackets int // bridge.max_ingress_packets: packets/s of one transport
	MaxSSRCs          int // SSRCs of one transport that may hold decryption state, those heard last

	MaxSources    int // source addresses one ICE agent may learn
	MaxCandidates int // remote candidates one ICE agent takes from signalling
	MaxQueuedSTUN int // STUN packets waiting for one ICE agent; more are dropped
	MaxQueuedDTLS int // DTLS datagrams waiting for one transport; more are dropped

	MaxMessage       int // bytes of one message received on the data channel; longer ones are dropped
	MaxChannelQueue  int // bytes accepted by SendMessage that the peer has not acknowledged
	MaxChannelBuffer int // bytes of SCTP receive window

	CheckInterval       time.Duration // between connectivity checks while connecting
	KeepaliveInterval   time.Duration // between consent checks
	DisconnectedTimeout time.Duration // silence after which pion calls a pair disconnected
	FailedTimeout       time.Duration // further silence after which the transport has failed
	RenominateAfter     time.Duration // silence of the selected pair after which another address of the client wins
	HandshakeTimeout    time.Duration // DTLS
	FlightInterval      time.Duration // first DTLS retransmission; doubles
	RestartTimeout      time.Duration // an ICE restart without result is abandoned
	RestartTransition   time.Duration // the replaced agent answers late checks for so long
	CertificateLifetime time.Duration // the DTLS certificate is replaced after this, for new transports

	// Pool supplies the packets handed to Handlers; nil makes one.
	Pool *rtpx.Pool
	// Clock gives the monotonic nanoseconds put in Packet.Arrived; nil is rtpx.Now, the clock of forward.
	Clock func() int64
}

// DefaultConfig returns the values of reference/deployment.md §15 and
// reference/bridge.md §4, §5, §22.
func DefaultConfig() Config {
	return Config{
		Port:                10000,
		IPv6:                true,
		PublicAddresses:     []string{"auto"},
		AdvertisePrivate:    true,
		SocketBuffer:        10 << 20,
		SRTPProfiles:        []string{"GCM-128", "CM-SHA1-80"},
		MaxIngress:          30_000_000,
		MaxIngressPackets:   6000,
		MaxSSRCs:            128,
		MaxSources:          128,
		MaxCandidates:       20,
		MaxQueuedSTUN:       64,
		MaxQueuedDTLS:       128,
		MaxMessage:          64 << 10,
		MaxChannelQueue:     128 << 10,
		MaxChannelBuffer:    256 << 10,
		CheckInterval:       50 * time.Millisecond,
		KeepaliveInterval:   5 * time.Second,
		DisconnectedTimeout: 10 * time.Second,
		FailedTimeout:       20 * time.Second,
		RenominateAfter:     3 * time.Second,
		HandshakeTimeout:    30 * time.Second,
		FlightInterval:      150 * time.Millisecond,
		RestartTimeout:      20 * time.Second,
		RestartTransition:   3 * time.Second,
		CertificateLifetime: 24 * time.Hour,
	}
}

// maxBitRate is what the limiter can count with.
const maxBitRate = 9_000_000_000

// complete fills what depends on the machine and checks what cannot work.
func (c *Config) complete() error {
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("udp port %d is out of range", c.Port)
	}
	if c.Sockets <= 0 {
		c.Sockets = min(runtime.GOMAXPROCS(0), runtime.NumCPU())
	}
	if !datagram.CanShare {
		c.Sockets = 1
	}
	if _, err := c.profiles(); err != nil {
		return err
	}
	if !iceChars(c.UfragPrefix) || len(c.UfragPrefix) > 64 {
		return fmt.Errorf("ufrag prefix %q: only up to 64 of A-Z a-z 0-9 + /", c.UfragPrefix)
	}
	for _, limit := range []struct {
		name  string
		value int
	}{
		{"MaxIngress", c.MaxIngress}, {"MaxIngressPackets", c.MaxIngressPackets},
		{"MaxSSRCs", c.MaxSSRCs}, {"MaxSources", c.MaxSources}, {"MaxCandidates", c.MaxCandidates},
		{"MaxQueuedSTUN", c.MaxQueuedSTUN}, {"MaxQueuedDTLS", c.MaxQueuedDTLS},
		{"MaxMessage", c.MaxMessage}, {"MaxChannelQueue", c.MaxChannelQueue}, {"MaxChannelBuffer", c.MaxChannelBuffer},
	} {
		if limit.value <= 0 {
			return fmt.Errorf("limit %s must be positive, is %d", limit.name, limit.value)
		}
	}
	c.MaxIngress = int(min(int64(c.MaxIngress), maxBitRate))
	if c.Pool == nil {
		c.Pool = rtpx.NewPool()
	}
	if c.Clock == nil {
		c.Clock = rtpx.Now
	}
	return nil
}

// profiles translates SRTPProfiles.
// AES-CM with SHA-1 costs three times what GCM costs, so GCM-128 belongs first.
func (c *Config) profiles() ([]dtls.SRTPProtectionProfile, error) {
	var out []dtls.SRTPProtectionProfile
	for _, name := range c.SRTPProfiles {
		switch name {
		case "GCM-128":
			out = append(out, dtls.SRTP_AEAD_AES_128_GCM)
		case "GCM-256":
			out = append(out, dtls.SRTP_AEAD_AES_256_GCM)
		case "CM-SHA1-80":
			out = append(out, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
		default:
			return nil, fmt.Errorf("unknown SRTP profile %q", name)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no SRTP profile configured")
	}
	return out, nil
}
