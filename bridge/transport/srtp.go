package transport

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	pionsrtp "github.com/pion/srtp/v3"

	"confab/bridge/srtp"
)

// replayWindow is wide enough for retransmissions that reuse a sequence number
// late in a burst.
const replayWindow = 512

// rtcpFactor times as many SSRCs may have state for RTCP as for RTP: that of RTCP is
// never given up.
const rtcpFactor = 8

// Overhead is the most that encryption adds to a packet: the GCM tag and the
// SRTCP index (RFC 7714 §8, §9), more than AES-CM's HMAC and index. RTP gets
// srtp.Overhead, without the index.
const Overhead = 20

// ingress is the receiving half: limits and decryption. Its mutex is held
// during Handler.RTP and RTCP so that they never overlap; only a client whose
// packets reach two sockets at once ever contends for it.
type ingress struct {
	mu     sync.Mutex
	rtp    *srtp.Decrypter // nil before DTLS is done and after close
	rtcp   *pionsrtp.Context
	limit  limiter
	ssrcs  []uint32 // that hold decryption state of RTCP
	common rtcp.Header

	packets, bytes   uint64
	decryptFailures  uint64
	overLimit, early uint64
}

func (in *ingress) open(k *srtpKeys) {
	in.mu.Lock()
	in.rtp, in.rtcp = k.rtpIn, k.rtcpIn
	in.mu.Unlock()
}

// decrypt authenticates and decrypts b in place. The state of an SSRC is kept
// only after its first packet authenticated (reference/bridge.md §5.2).
func (in *ingress) decrypt(b []byte, isRTCP bool, maxSSRCs int) ([]byte, bool) {
	if !isRTCP {
		return in.rtp.Decrypt(b)
	}
	if len(b) < 8 {
		return nil, false
	}
	ssrc := binary.BigEndian.Uint32(b[4:])
	known := slices.Contains(in.ssrcs, ssrc)
	if !known && len(in.ssrcs) >= rtcpFactor*maxSSRCs {
		return nil, false
	}
	out, err := in.rtcp.DecryptRTCP(b, b, &in.common)
	if err != nil {
		return nil, false
	}
	if !known {
		in.ssrcs = append(in.ssrcs, ssrc)
	}
	return out, true
}

// limiter is a token bucket for bits and one for packets, each one second deep.
type limiter struct {
	bits, packets int64 // left
	last          int64 // ns
}

func (l *limiter) allow(now int64, size int, maxBits, maxPackets int64) bool {
	if passed := now - l.last; passed > 0 || l.last == 0 {
		if passed >= 1e9 || l.last == 0 {
			l.bits, l.packets = maxBits, maxPackets
			l.last = now
		} else if packets := passed * maxPackets / 1e9; packets > 0 {
			// Whole packets only, so that rounding loses nothing.
			passed = packets * 1e9 / maxPackets
			l.packets = min(maxPackets, l.packets+packets)
			l.bits = min(maxBits, l.bits+passed*maxBits/1e9)
			l.last += passed
		}
	}
	if l.packets < 1 || l.bits < int64(size)*8 {
		return false
	}
	l.packets--
	l.bits -= int64(size) * 8
	return true
}

// srtpKeys is encryption state in both directions. RTP and RTCP have a state
// each because different goroutines own them.
type srtpKeys struct {
	profile         string
	rtpIn           *srtp.Decrypter
	rtpOut          *srtp.Encrypter
	rtcpIn, rtcpOut *pionsrtp.Context
}

// exportKeys derives it from the DTLS connection.
func exportKeys(conn *dtls.Conn, client bool, maxSSRCs int) (*srtpKeys, error) {
	selected, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return nil, fmt.Errorf("the client offered no SRTP profile of ours")
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, fmt.Errorf("no DTLS state to export keys from")
	}
	cfg := pionsrtp.Config{Profile: pionsrtp.ProtectionProfile(selected)}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return nil, fmt.Errorf("export srtp keys: %w", err)
	}
	return newKeys(cfg.Profile, &cfg.Keys, maxSSRCs)
}

func newKeys(p pionsrtp.ProtectionProfile, m *pionsrtp.SessionKeys, maxSSRCs int) (*srtpKeys, error) {
	k := &srtpKeys{profile: p.String()}
	var err error
	k.rtpIn, err = srtp.NewDecrypter(srtp.Profile(p), m.RemoteMasterKey, m.RemoteMasterSalt, replayWindow, maxSSRCs)
	if err == nil {
		k.rtpOut, err = srtp.NewEncrypter(srtp.Profile(p), m.LocalMasterKey, m.LocalMasterSalt)
	}
	if err == nil {
		// There is no replay protection unless one asks for it.
		k.rtcpIn, err = pionsrtp.CreateContext(m.RemoteMasterKey, m.RemoteMasterSalt, p, pionsrtp.SRTCPReplayProtection(replayWindow))
	}
	if err == nil {
		k.rtcpOut, err = pionsrtp.CreateContext(m.LocalMasterKey, m.LocalMasterSalt, p)
	}
	if err != nil {
		return nil, fmt.Errorf("srtp keys: %w", err)
	}
	return k, nil
}
