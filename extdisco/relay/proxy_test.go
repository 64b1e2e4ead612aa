package relay

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"confab/extdisco/stun"
)

// proxyHeader is one of version 2 for TCP.
func proxyHeader(remote, local netip.AddrPort, extra ...byte) []byte {
	b := append(bytes.Clone(proxySignature), 0x21, 0x11)
	body := append(remote.Addr().AsSlice(), local.Addr().AsSlice()...)
	if remote.Addr().Is6() {
		b[13] = 0x21
	}
	body = binary.BigEndian.AppendUint16(body, remote.Port())
	body = binary.BigEndian.AppendUint16(body, local.Port())
	body = append(body, extra...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

func TestProxyHeader(t *testing.T) {
	t.Parallel()
	four, to4 := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("203.0.113.1:3478")
	six, to6 := netip.MustParseAddrPort("[2001:db8::1]:4000"), netip.MustParseAddrPort("[2001:db8::2]:3478")
	none := netip.AddrPort{}
	for name, c := range map[string]struct {
		header        string
		remote, local netip.AddrPort
		bad           bool
	}{
		"v2, IPv4":              {header: string(proxyHeader(four, to4)), remote: four, local: to4},
		"v2, IPv6":              {header: string(proxyHeader(six, to6)), remote: six, local: to6},
		"v2 with more":          {header: string(proxyHeader(four, to4, 3, 0, 4, 1, 2, 3, 4)), remote: four, local: to4},
		"v2, local":             {header: string(proxySignature) + "\x20\x00\x00\x00"},
		"v2, unspecified":       {header: string(proxySignature) + "\x21\x00\x00\x02ab"},
		"v2, of a Unix socket":  {header: string(proxySignature) + "\x21\x31\x00\x00", bad: true},
		"v2, UDP":               {header: string(proxySignature) + "\x21\x12\x00\x0c" + strings.Repeat("x", 12), bad: true},
		"v2, too short":         {header: string(proxySignature) + "\x21\x11\x00\x04abcd", bad: true},
		"v2, too long":          {header: string(proxySignature) + "\x21\x11\xff\xff", bad: true},
		"v3":                    {header: string(proxySignature) + "\x31\x11\x00\x00", bad: true},
		"v2, another command":   {header: string(proxySignature) + "\x2f\x11\x00\x00", bad: true},
		"v2, another signature": {header: "\r\n\r\n\x00\r\nQUIX\n\x21\x11\x00\x00", bad: true},
		"v1, IPv4":              {header: "PROXY TCP4 192.0.2.1 203.0.113.1 4000 3478\r\n", remote: four, local: to4},
		"v1, IPv6":              {header: "PROXY TCP6 2001:db8::1 2001:db8::2 4000 3478\r\n", remote: six, local: to6},
		"v1, unknown":           {header: "PROXY UNKNOWN\r\n"},
		"v1, unknown with more": {header: "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"},
		"v1, families mixed":    {header: "PROXY TCP4 2001:db8::1 203.0.113.1 4000 3478\r\n", bad: true},
		"v1, a zone":            {header: "PROXY TCP6 fe80::1%lo fe80::2 4000 3478\r\n", bad: true},
		"v1, no port":           {header: "PROXY TCP4 192.0.2.1 203.0.113.1 4000 66000\r\n", bad: true},
		"v1, words missing":     {header: "PROXY TCP4 192.0.2.1\r\n", bad: true},
		"v1 without end":        {header: "PROXY TCP4 " + strings.Repeat("1", 200), bad: true},
		"HTTP":                  {header: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", bad: true},
		"STUN":                  {header: "\x00\x01\x00\x00\x21\x12\xa4\x42" + strings.Repeat("x", 12), bad: true},
		"nothing":               {bad: true},
	} {
		r := strings.NewReader(c.header + "behind")
		if c.header == "" {
			r = strings.NewReader("")
		}
		remote, local, err := readProxyHeader(r)
		if remote != c.remote || local != c.local || (err != nil) != c.bad {
			t.Errorf("%s: %s to %s, %v", name, remote, local, err)
		}
		if rest, _ := io.ReadAll(r); err == nil && string(rest) != "behind" {
			t.Errorf("%s: %q is left", name, rest)
		}
		if err != nil && (remote != none || local != none) {
			t.Errorf("%s: addresses beside an error", name)
		}
	}
}

// Through a proxy the relay sees the client: in what it answers, in the nonce, in quotas and
// in the log. Nobody else can name himself.
func TestProxied(t *testing.T) {
	t.Parallel()
	from := netip.MustParseAddrPort("192.0.2.1:4000")
	for name, header := range map[string][]byte{
		"v1": []byte("PROXY TCP4 192.0.2.1 203.0.113.1 4000 3478\r\n"), "v2": proxyHeader(from, netip.MustParseAddrPort("203.0.113.1:3478")),
	} {
		for _, secure := range []bool{false, true} {
			w := serve(t, func(c *Config) {
				c.Proxied = netip.Addr.IsLoopback
				c.PlainTLS = serverTLS(t)
			})
			conn, err := net.Dial("tcp", w.listeners[0].Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range header { // it need not come at once
				if _, err := conn.Write([]byte{b}); err != nil {
					t.Fatal(err)
				}
			}
			if secure {
				conn = handshaken(t, conn)
			}
			c := w.over(conn, true)
			c.greet()
			m := c.ask(stun.Allocate, 0, overUDP)
			if got := address(t, m, stun.AttrXORMappedAddress); got != from {
				t.Errorf("%s: the client has %s", name, got)
			}
			list, _ := w.Allocations(0, 10)
			if len(list) != 1 || list[0].Client != from || list[0].Server.String() != "203.0.113.1:3478" {
				t.Errorf("%s: %+v", name, list)
			}
			w.call("tcp").endsBy("GET / HTTP/1.1\r\n\r\n") // a proxy that names nobody
		}
	}
	w := serve(t, func(c *Config) { c.Proxied = func(netip.Addr) bool { return false } })
	w.call("tcp").endsBy("PROXY TCP4 192.0.2.1 203.0.113.1 4000 3478\r\n")
	c := w.login("tcp")
	if got := address(t, c.ask(stun.Allocate, 0, overUDP), stun.AttrXORMappedAddress); got != addrPort(c.conn.LocalAddr()) {
		t.Errorf("the client has %s", got)
	}
}

// endsBy says something that ends the connection.
func (c *caller) endsBy(s string) {
	c.t.Helper()
	c.write([]byte(s))
	c.gone()
}

func FuzzProxyHeader(f *testing.F) {
	f.Add(proxyHeader(netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("203.0.113.1:3478")))
	f.Add([]byte("PROXY TCP6 2001:db8::1 2001:db8::2 4000 3478\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		remote, local, err := readProxyHeader(r)
		if err != nil && (remote.IsValid() || local.IsValid()) || remote.IsValid() != local.IsValid() {
			t.Errorf("%s to %s, %v", remote, local, err)
		}
		if read := len(b) - r.Len(); read > len(proxySignature)+4+maxProxyHeader {
			t.Errorf("%d bytes were read", read)
		}
	})
}
