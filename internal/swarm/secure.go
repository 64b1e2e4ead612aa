package swarm

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/logging"
	"github.com/pion/srtp/v3"
)

// keys is what a handshake results in.
type keys struct {
	in, out *srtp.Context
	profile string
}

type cert struct {
	tls         tls.Certificate
	fingerprint string
}

// certificate is one for all legs; nobody minds, and making one costs.
var certificate = sync.OnceValue(func() cert {
	c, err := selfsign.GenerateSelfSigned()
	if err != nil {
		panic(err) // only without randomness
	}
	return cert{c, fingerprintOf(c.Certificate[0])}
})

func fingerprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}

var errFingerprint = errors.New("the server's certificate is not the one signalled")

// secure does the DTLS handshake and hands the keys over.
func (l *Leg) secure() {
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTime)
	defer cancel()
	conn, k, err := l.handshake(ctx)
	if err != nil {
		l.finish(fmt.Errorf("dtls: %w", err))
		return
	}
	defer func() { _ = conn.Close() }()
	l.s.post(func() {
		l.keys = k
		for _, o := range l.out {
			o.begin()
		}
		l.finish(nil)
	})
	stop := context.AfterFunc(l.ctx, func() { _ = conn.Close() })
	defer stop()
	if l.OnSecure != nil {
		l.OnSecure(l.ctx, conn)
	}
	buf := make([]byte, 2048)
	for l.ctx.Err() == nil { // nothing is expected but the goodbye
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

// profiles are in the order of Chromium; the server chooses.
var profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}

func (l *Leg) handshake(ctx context.Context) (*dtls.Conn, *keys, error) {
	want := l.rem.Fingerprint
	verify := func(raw [][]byte, _ [][]*x509.Certificate) error {
		if len(raw) > 0 && strings.EqualFold(want, fingerprintOf(raw[0])) {
			return nil
		}
		return errFingerprint
	}
	quiet := &logging.DefaultLoggerFactory{Writer: io.Discard}
	pipe := &pipe{l: l}
	var conn *dtls.Conn
	var err error
	if l.rem.Active {
		conn, err = dtls.ServerWithOptions(pipe, pipeAddr{}, dtls.WithLoggerFactory(quiet), dtls.WithCertificates(certificate().tls),
			dtls.WithSRTPProtectionProfiles(profiles...), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
			dtls.WithFlightInterval(200*time.Millisecond), dtls.WithClientAuth(dtls.RequireAnyClientCert),
			dtls.WithInsecureSkipVerify(true), dtls.WithInsecureSkipVerifyHello(true), dtls.WithVerifyPeerCertificate(verify))
	} else {
		conn, err = dtls.ClientWithOptions(pipe, pipeAddr{}, dtls.WithLoggerFactory(quiet), dtls.WithCertificates(certificate().tls),
			dtls.WithSRTPProtectionProfiles(profiles...), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
			dtls.WithFlightInterval(200*time.Millisecond),
			dtls.WithInsecureSkipVerify(true), // the signalled fingerprint is the identity, RFC 5763 §5
			dtls.WithVerifyPeerCertificate(verify))
	}
	if err != nil {
		return nil, nil, err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	k, err := keysOf(conn, !l.rem.Active)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, k, nil
}

func keysOf(conn *dtls.Conn, client bool) (*keys, error) {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	state, ok2 := conn.ConnectionState()
	if !ok || !ok2 {
		return nil, errors.New("no SRTP profile")
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return nil, err
	}
	k := &keys{profile: cfg.Profile.String()}
	var err error
	if k.in, err = srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile); err != nil {
		return nil, err
	}
	k.out, err = srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile)
	return k, err
}

// Profile is the SRTP profile in use, "" before the handshake.
func (l *Leg) Profile() (name string) {
	l.s.Do(func() {
		if l.keys != nil {
			name = l.keys.profile
		}
	})
	return name
}

// pipe is the net.PacketConn of a leg's DTLS.
type pipe struct {
	l        *Leg
	mu       sync.Mutex
	deadline time.Time
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "ice" }
func (pipeAddr) String() string  { return "server" }

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	deadline := p.deadline
	p.mu.Unlock()
	var expired <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		expired = t.C
	}
	select {
	case in := <-p.l.dtlsIn:
		return copy(b, in), pipeAddr{}, nil
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	case <-p.l.ctx.Done():
		return 0, nil, net.ErrClosed
	}
}

func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	return len(b), p.l.s.sock.write(b, p.l.addr, *p.l.peer.Load())
}

func (p *pipe) Close() error {
	p.l.cancel()
	return nil
}

func (p *pipe) LocalAddr() net.Addr { return pipeAddr{} }

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	return nil
}

func (p *pipe) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
