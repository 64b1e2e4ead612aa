package swarm

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"

	"confab/internal/dtlssrtp"
)

// keys is what a handshake results in.
type keys struct {
	in, out *srtp.Context
	profile string
}

// certificate is one for all legs; nobody minds, and making one costs.
var certificate = sync.OnceValue(func() dtlssrtp.Certificate {
	c, err := dtlssrtp.NewCertificate()
	if err != nil {
		panic(err) // only without randomness
	}
	return c
})

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

func (l *Leg) handshake(ctx context.Context) (*dtls.Conn, *keys, error) {
	conn, k, err := dtlssrtp.Handshake(ctx, &pipe{l: l}, pipeAddr{}, dtlssrtp.Options{
		Certificate: certificate(), Fingerprints: []string{l.rem.Fingerprint}, Server: l.rem.Active, Flight: 200 * time.Millisecond,
	})
	if err != nil {
		return nil, nil, err
	}
	in, out, err := k.Contexts()
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, &keys{in, out, k.Profile()}, nil
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
