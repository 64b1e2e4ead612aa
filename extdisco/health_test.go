package extdisco

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"confab/extdisco/stun"
	"confab/xmpp"
)

// A probe that panics counts as one that has failed, and the others are made.
func TestProbePanics(t *testing.T) {
	t.Parallel()
	h := NewHealth(time.Hour, func() {}, slog.New(slog.DiscardHandler))
	h.probe = func(_ context.Context, s Server) error {
		if s.Host == "a" {
			panic("a bug")
		}
		return nil
	}
	h.Watch([]Server{{Type: "turn", Host: "a", Port: 3478, Transport: "udp"}, {Type: "turn", Host: "b", Port: 3478, Transport: "udp"}})
	for range maxFailures {
		h.round(t.Context())
	}
	want := []State{{"turn:a:3478?transport=udp", false}, {"turn:b:3478?transport=udp", true}}
	if got := h.States(); !slices.Equal(got, want) || h.Guard().Panics() != maxFailures {
		t.Errorf("%v, %d panics", got, h.Guard().Panics())
	}
}

// A relay leaves after the third probe it fails and is back with the next it answers;
// the one beside it stays.
func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			mu     sync.Mutex
			down   = map[string]bool{}
			probed = map[string]int{}
		)
		var changes atomic.Int32
		h := NewHealth(10*time.Second, func() { changes.Add(1) }, slog.New(slog.DiscardHandler))
		h.probe = func(_ context.Context, s Server) error {
			mu.Lock()
			defer mu.Unlock()
			probed[s.Host]++
			if down[s.Host] {
				return errors.New("no answer")
			}
			return nil
		}
		servers := []Server{
			{Type: "turn", Host: "own", Port: 3478, Transport: "udp", Own: true},
			{Type: "turn", Host: "a", Port: 3478, Transport: "udp"},
			{Type: "turn", Host: "b", Port: 3478, Transport: "udp"},
			{Type: "turns", Host: "dtls", Port: 5349, Transport: "udp"},
		}
		h.Watch(servers)
		l := NewList(Settings{Servers: servers, TTL: time.Hour}, testKeys("north"), []byte("key"), h)
		hosts := func() string {
			var out []string
			for _, e := range l.Entries(xmpp.MustJID("u@meet.example/r")) {
				out = append(out, e.Host)
			}
			return strings.Join(out, " ")
		}
		set := func(host string, is bool) {
			mu.Lock()
			defer mu.Unlock()
			down[host] = is
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		pass := func(rounds int) {
			time.Sleep(time.Duration(rounds) * 10 * time.Second) // of the bubble's clock
			synctest.Wait()
		}
		synctest.Wait()
		set("a", true)
		pass(2)
		if hosts() != "own a b dtls" || changes.Load() != 0 {
			t.Errorf("after two failures: %s, %d", hosts(), changes.Load())
		}
		pass(1)
		if hosts() != "own b dtls" || changes.Load() != 1 {
			t.Errorf("after three: %s, %d", hosts(), changes.Load())
		}
		want := []State{{"turn:a:3478?transport=udp", false}, {"turn:b:3478?transport=udp", true}}
		if got := h.States(); !slices.Equal(got, want) {
			t.Errorf("%v", got)
		}
		pass(5)
		h.Watch(servers) // a reload forgets nothing
		synctest.Wait()
		if hosts() != "own b dtls" || changes.Load() != 1 {
			t.Errorf("it stays away: %s, %d", hosts(), changes.Load())
		}
		set("a", false)
		pass(1)
		if hosts() != "own a b dtls" || changes.Load() != 2 {
			t.Errorf("it is back: %s, %d", hosts(), changes.Load())
		}
		mu.Lock()
		defer mu.Unlock()
		if probed["own"] != 0 || probed["dtls"] != 0 || probed["a"] == 0 || probed["a"] != probed["b"] {
			t.Errorf("probes: %v", probed)
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// response answers a Binding request.
func response(b []byte, class uint16) []byte {
	m, ok := stun.Parse(b)
	if !ok {
		return nil
	}
	var w stun.Builder
	w.Start(m.Method()|class, m.ID())
	w.AddXORAddress(stun.AttrXORMappedAddress, netip.MustParseAddrPort("192.0.2.1:5000"))
	return w.Bytes()
}

func serverOf(t *testing.T, typ, transport string, addr net.Addr) Server {
	t.Helper()
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := net.LookupPort("udp", port)
	if err != nil {
		t.Fatal(err)
	}
	return Server{Type: typ, Host: host, Port: n, Transport: transport}
}

// udpServer answers each datagram by answer; nil is silence.
func udpServer(t *testing.T, answer func(i int, b []byte) []byte) net.Addr {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 1500)
		for i := 0; ; i++ {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if out := answer(i, b[:n]); out != nil {
				_, _ = c.WriteTo(out, from)
			}
		}
	})
	t.Cleanup(func() { c.Close(); wg.Wait() })
	return c.LocalAddr()
}

func tcpServer(t *testing.T, ln net.Listener, answer func(b []byte) []byte) net.Addr {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 1500)
			if n, err := c.Read(b); err == nil {
				_, _ = c.Write(answer(b[:n]))
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr()
}

func TestProbe(t *testing.T) {
	t.Parallel()
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	yes := func(b []byte) []byte { return response(b, stun.Success) }
	for name, c := range map[string]struct {
		server Server
		err    string // "" is success
	}{
		"udp":                {serverOf(t, "stun", "udp", udpServer(t, func(_ int, b []byte) []byte { return yes(b) })), ""},
		"udp, an error":      {serverOf(t, "turn", "udp", udpServer(t, func(_ int, b []byte) []byte { return response(b, stun.Error) })), ""},
		"udp, one is lost":   {serverOf(t, "turn", "udp", udpServer(t, func(i int, b []byte) []byte { return map[bool][]byte{true: yes(b)}[i > 0] })), ""},
		"tcp":                {serverOf(t, "turn", "tcp", tcpServer(t, listen(), yes)), ""},
		"tls":                {serverOf(t, "turns", "tcp", tcpServer(t, tls.NewListener(listen(), selfSigned(t)), yes)), ""},
		"tls, says tcp":      {serverOf(t, "turns", "tcp", tcpServer(t, listen(), yes)), "TLS"},
		"http":               {serverOf(t, "turn", "tcp", tcpServer(t, listen(), func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") })), "no STUN"},
		"another's response": {serverOf(t, "turn", "tcp", tcpServer(t, listen(), func(b []byte) []byte { b[9]++; return yes(b) })), "EOF"},
		"closed at once":     {serverOf(t, "turn", "tcp", tcpServer(t, listen(), func([]byte) []byte { return nil })), "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Probe(t.Context(), c.server)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v", err)
			}
		})
	}
	// Silence and answers to other requests end with the context.
	for _, answer := range []func(int, []byte) []byte{
		func(int, []byte) []byte { return nil },
		func(_ int, b []byte) []byte { b[19]++; return yes(b) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		addr := udpServer(t, func(i int, b []byte) []byte { cancel(); return answer(i, b) })
		if err := Probe(ctx, serverOf(t, "turn", "udp", addr)); err == nil {
			t.Error("no answer is success")
		}
		cancel()
	}
}

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"stun.turn"}}
}
