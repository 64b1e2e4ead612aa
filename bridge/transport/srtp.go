package transport

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// replayWindow is wide enough for retransmissions that reuse a sequence number
// late in a burst. pion's CreateContext has no replay protection unless told.
const replayWindow = 512

// Overhead is the most that encryption adds to a packet: the GCM tag and the
// SRTCP index (RFC 7714 §8, §9), more than AES-CM's HMAC and index.
const Overhead = 20

// ingress is the receiving half: limits and decryption. Its mutex is held
// during Handler.RTP and RTCP so that they never overlap; only a client whose
// packets reach two sockets at once ever contends for it.
type ingress struct {
	mu     sync.Mutex
	ctx    *srtp.Context // nil before DTLS is done and after close
	limit  limiter
	rtp    []uint32 // SSRCs that hold decryption state
	rtcp   []uint32
	header rtp.Header
	common rtcp.Header

	packets, bytes   uint64
	decryptFailures  uint64
	overLimit, early uint64
}

// admit reports whether ssrc has, or may get, decryption state.
func admit(list []uint32, ssrc uint32, limit int) (known, ok bool) {
	if slices.Contains(list, ssrc) {
		return true, true
	}
	return false, len(list) < limit
}

// decrypt authenticates and decrypts b in place. The state of an SSRC is kept
// only after its first packet authenticated (reference/bridge.md §5.2).
func (in *ingress) decrypt(b []byte, isRTCP bool, maxSSRCs int) ([]byte, bool) {
	if isRTCP {
		if len(b) < 8 {
			return nil, false
		}
		ssrc := binary.BigEndian.Uint32(b[4:])
		known, ok := admit(in.rtcp, ssrc, maxSSRCs)
		if !ok {
			return nil, false
		}
		out, err := in.ctx.DecryptRTCP(b, b, &in.common)
		if err != nil {
			return nil, false
		}
		if !known {
			in.rtcp = append(in.rtcp, ssrc)
		}
		return out, true
	}
	if len(b) < 12 {
		return nil, false
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	known, ok := admit(in.rtp, ssrc, maxSSRCs)
	if !ok {
		return nil, false
	}
	out, err := in.ctx.DecryptRTP(b, b, &in.header)
	if err != nil {
		return nil, false
	}
	if !known {
		in.rtp = append(in.rtp, ssrc)
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

// srtpContexts derives the four uses of the DTLS keys. RTP and RTCP get a
// context each for sending because different goroutines own them.
func srtpContexts(conn *dtls.Conn, client bool) (in, rtpOut, rtcpOut *srtp.Context, profile string, err error) {
	selected, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return nil, nil, nil, "", fmt.Errorf("the client offered no SRTP profile of ours")
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, nil, nil, "", fmt.Errorf("no DTLS state to export keys from")
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(selected)}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return nil, nil, nil, "", fmt.Errorf("export srtp keys: %w", err)
	}
	k := cfg.Keys
	in, err = srtp.CreateContext(k.RemoteMasterKey, k.RemoteMasterSalt, cfg.Profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err == nil {
		rtpOut, err = srtp.CreateContext(k.LocalMasterKey, k.LocalMasterSalt, cfg.Profile)
	}
	if err == nil {
		rtcpOut, err = srtp.CreateContext(k.LocalMasterKey, k.LocalMasterSalt, cfg.Profile)
	}
	if err != nil {
		return nil, nil, nil, "", fmt.Errorf("srtp context: %w", err)
	}
	return in, rtpOut, rtcpOut, cfg.Profile.String(), nil
}
