package transport

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	"github.com/pion/dtls/v3"
)

// pipe is the net.PacketConn that DTLS reads and writes: in from the
// demultiplexer, out to the path in use.
type pipe struct {
	*queue
	t *Transport
}

func newPipe(t *Transport) *pipe { return &pipe{newQueue(t.s.cfg.MaxQueuedDTLS), t} }

// pipeAddr stands for the client in pion's eyes; where it is changes.
var pipeAddr net.Addr = &net.UDPAddr{IP: net.IPv4zero}

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, err := p.read(b)
	return n, pipeAddr, err
}

// WriteTo drops what can't be sent: DTLS retransmits.
func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	if way := p.t.path.Load(); way != nil {
		way.write(b)
	}
	return len(b), nil
}

func (p *pipe) Close() error                      { p.close(); return nil }
func (p *pipe) LocalAddr() net.Addr               { return pipeAddr }
func (p *pipe) SetDeadline(t time.Time) error     { return p.SetReadDeadline(t) }
func (p *pipe) SetReadDeadline(t time.Time) error { p.setDeadline(t); return nil }
func (p *pipe) SetWriteDeadline(time.Time) error  { return nil }

// secureIfReady starts DTLS when a path works and the client's certificate
// hash and role are known. Called with t.mu held.
func (t *Transport) secureIfReady() {
	if t.securing || t.closed || t.path.Load() == nil || len(t.fingerprints) == 0 || t.setup == "actpass" {
		return
	}
	t.securing = true
	t.wg.Go(t.secure)
}

// secure is the DTLS goroutine: handshake, keys, then the data channel until
// the connection ends.
func (t *Transport) secure() {
	conn, client, err := t.openDTLS()
	if err == nil {
		err = t.handshake(conn, client)
	}
	if err == nil {
		t.channel(conn) // returns when the connection is over
		err = ErrPeerClosed
	}
	t.mu.Lock()
	t.secured, t.over = false, true
	t.mu.Unlock()
	t.stopSRTP()
	if conn != nil {
		_ = conn.Close()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	// Browsers tell nobody that DTLS has failed as long as ICE works: theirs fails as well
	// now, on which LJM asks for a new session. There is no other way to new keys, for
	// browsers make a new handshake only with a new connection.
	t.path.Store(nil)
	t.retire(t.cur, 0)
	if t.next != nil {
		t.retire(t.next, 0)
		t.next = nil
		t.s.restarts.failed.Add(1)
	}
	t.setState(StateFailed, err)
}

// stopSRTP forgets the keys: nothing is delivered or sent any more.
func (t *Transport) stopSRTP() {
	t.in.mu.Lock()
	t.in.rtp, t.in.rtcp = nil, nil
	t.in.mu.Unlock()
	t.out.close()
}

func (t *Transport) openDTLS() (conn *dtls.Conn, client bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false, ErrClosed
	}
	allowed := t.fingerprints
	options := []dtls.Option{
		dtls.WithLoggerFactory(t.pion),
		dtls.WithCertificates(t.cert),
		dtls.WithCipherSuites( // those of jitsi-videobridge that pion has
			dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, dtls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
		dtls.WithSRTPProtectionProfiles(t.s.profiles...), // the server's order wins
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithFlightInterval(t.s.cfg.FlightInterval),
		dtls.WithInsecureSkipVerify(true), // the signalled fingerprint is the identity, RFC 5763 §5
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 {
				return ErrFingerprint
			}
			return verifyFingerprint(raw[0], allowed)
		}),
	}
	client = t.setup == "active"
	if client {
		conn, err = dtls.ClientWithOptions(t.pipe, pipeAddr, clientOptions(options)...)
	} else {
		conn, err = dtls.ServerWithOptions(t.pipe, pipeAddr, append(serverOptions(options),
			dtls.WithClientAuth(dtls.RequireAnyClientCert),
			// ICE has proved the return path; a cookie would cost a round trip.
			dtls.WithInsecureSkipVerifyHello(true))...)
	}
	if err != nil {
		return nil, client, fmt.Errorf("dtls: %w", err)
	}
	t.conn = conn
	return conn, client, nil
}

func serverOptions(in []dtls.Option) (out []dtls.ServerOption) {
	for _, o := range in {
		out = append(out, o)
	}
	return out
}

func clientOptions(in []dtls.Option) (out []dtls.ClientOption) {
	for _, o := range in {
		out = append(out, o)
	}
	return out
}

func (t *Transport) handshake(conn *dtls.Conn, client bool) error {
	ctx, cancel := context.WithTimeout(t.ctx, t.s.cfg.HandshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("dtls handshake: %w", err)
	}
	keys, err := exportKeys(conn, client, t.s.cfg.MaxSSRCs)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	t.clear.Shaken(t.s.cfg.Clock())
	// Receive first: the client may send as soon as it has our Finished.
	t.in.open(keys)
	t.out.open(keys)
	t.secured, t.profile = true, keys.profile
	t.log.Debug("dtls connected", "profile", keys.profile, "client", client)
	t.setState(StateConnected, nil)
	return nil
}
