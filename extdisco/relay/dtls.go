package relay

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
)

// ListenDTLS opens a listener for TURN over DTLS (RFC 8656 §3.1). A client must send
// back a cookie before anything is kept of it (RFC 6347 §4.2.1).
func ListenDTLS(ap netip.AddrPort, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) (net.Listener, error) {
	ln, err := dtls.ListenWithOptions(family("udp", ap), net.UDPAddrFromAddrPort(ap),
		dtls.WithGetCertificate(func(hello *dtls.ClientHelloInfo) (*tls.Certificate, error) {
			return certificate(&tls.ClientHelloInfo{ServerName: hello.ServerName,
				SupportedVersions: []uint16{tls.VersionTLS12}, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
				SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PKCS1WithSHA256}})
		}),
		dtls.WithLoggerFactory(silence{}))
	if err != nil {
		return nil, fmt.Errorf("TURN over DTLS on %s: %w", ap, err)
	}
	return ln, nil
}

// silence keeps the library's log out: it speaks at the rate of what strangers send.
type silence struct{}

func (silence) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, nil)
}
