// Package dtlssrtp is DTLS-SRTP as an endpoint does it (RFC 5763, RFC 5764): for the
// clients of tests and of the load generator. The bridge has its own, faster and with
// the checks of a server (bridge/transport); here it is pion's throughout, so that the
// two are not one mistake.
package dtlssrtp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/logging"
	"github.com/pion/srtp/v3"
)

// Certificate is that of an endpoint.
type Certificate struct {
	tls         tls.Certificate
	Fingerprint string // sha-256
}

// NewCertificate makes one.
func NewCertificate() (Certificate, error) {
	c, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	return Certificate{c, fingerprintOf(c.Certificate[0])}, nil
}

// fingerprintOf is the sha-256 of a certificate as it is signalled: in hexadecimal,
// upper case, with colons (RFC 8122 §5).
func fingerprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}

// Quiet keeps pion's log out of the output.
func Quiet() logging.LoggerFactory { return &logging.DefaultLoggerFactory{Writer: io.Discard} }

// Options of a handshake.
type Options struct {
	Certificate  Certificate
	Fingerprints []string // sha-256 of the certificates that the other side has signalled
	Server       bool     // the other side begins
	// Flight is after how long a flight is sent again.
	Flight time.Duration
	// Profiles are those of SRTP that are offered; nil: Profiles of this package.
	Profiles []dtls.SRTPProtectionProfile
	MTU      int // 0: that of pion
}

// Profiles are what Chromium offers; the server chooses (bridge.md §5.2).
var profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}

// ErrFingerprint says that the other side's certificate is not one that was signalled.
var ErrFingerprint = errors.New("the server's certificate is not the one signalled")

// Handshake runs DTLS over pipe.
func Handshake(ctx context.Context, pipe net.PacketConn, peer net.Addr, o Options) (*dtls.Conn, *Keys, error) {
	conn, err := open(pipe, peer, o)
	if err != nil {
		return nil, nil, err
	}
	var k *Keys
	if err = conn.HandshakeContext(ctx); err == nil {
		k, err = keysOf(conn, !o.Server)
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, k, nil
}

func open(pipe net.PacketConn, peer net.Addr, o Options) (*dtls.Conn, error) {
	if o.Profiles == nil {
		o.Profiles = profiles
	}
	options := []dtls.Option{
		dtls.WithLoggerFactory(Quiet()),
		dtls.WithCertificates(o.Certificate.tls),
		dtls.WithSRTPProtectionProfiles(o.Profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithFlightInterval(o.Flight),
		dtls.WithInsecureSkipVerify(true), // the signalled fingerprint is the identity, RFC 5763 §5
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) > 0 && slices.ContainsFunc(o.Fingerprints, func(f string) bool {
				return strings.EqualFold(f, fingerprintOf(raw[0]))
			}) {
				return nil
			}
			return ErrFingerprint
		}),
	}
	if o.MTU > 0 {
		options = append(options, dtls.WithMTU(o.MTU))
	}
	if !o.Server {
		return dtls.ClientWithOptions(pipe, peer, as[dtls.ClientOption](options)...)
	}
	return dtls.ServerWithOptions(pipe, peer, append(as[dtls.ServerOption](options),
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		dtls.WithInsecureSkipVerifyHello(true))...) // ICE has proved the return path
}

// as gives options of both sides the type of those of one.
func as[T any](options []dtls.Option) []T {
	out := make([]T, len(options))
	for i, o := range options {
		out[i] = o.(T)
	}
	return out
}

// Keys is what a handshake results in.
type Keys struct{ cfg srtp.Config }

func keysOf(conn *dtls.Conn, client bool) (*Keys, error) {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	state, ok2 := conn.ConnectionState()
	if !ok || !ok2 {
		return nil, errors.New("no SRTP profile")
	}
	k := &Keys{srtp.Config{Profile: srtp.ProtectionProfile(profile)}}
	return k, k.cfg.ExtractSessionKeysFromDTLS(&state, client)
}

// Profile is the name of the SRTP profile that the two agreed upon.
func (k *Keys) Profile() string { return k.cfg.Profile.String() }

// Contexts decrypt what comes, with options, and encrypt what goes.
func (k *Keys) Contexts(options ...srtp.ContextOption) (in, out *srtp.Context, err error) {
	m := &k.cfg.Keys
	if in, err = srtp.CreateContext(m.RemoteMasterKey, m.RemoteMasterSalt, k.cfg.Profile, options...); err != nil {
		return nil, nil, err
	}
	out, err = srtp.CreateContext(m.LocalMasterKey, m.LocalMasterSalt, k.cfg.Profile)
	return in, out, err
}
