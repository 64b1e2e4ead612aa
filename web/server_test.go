package web

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func gunzip(t *testing.T, s string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func get(t *testing.T, c *http.Client, url string) (int, string, *http.Response) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(url, "8888") {
		req.Host = testDomain
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b), res
}

// echo is a WebSocket server such as those behind the front.
func echo(subprotocol string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}, InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, append([]byte(tenantOf(r)+":"), b...)); err != nil {
				return
			}
		}
	})
}

func TestHTTPSOnARealPort(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s, c := run(t, cfg, Handlers{XMPPWebSocket: echo("xmpp")})
	base := "https://" + s.Addrs()[0].String()

	status, body, res := get(t, c, base+"/config.js")
	if status != 200 || res.ProtoMajor != 2 || !strings.HasPrefix(body, "var config = ") {
		t.Errorf("%d %s %.40q", status, res.Proto, body)
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options":    "nosniff",
		"Referrer-Policy":           "strict-origin-when-cross-origin",
		"Strict-Transport-Security": "", // the certificate is our own
		"X-Frame-Options":           "", // never: anyone may embed (deployment.md §9)
		"Permissions-Policy":        "",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h1 := &http.Client{Transport: &http.Transport{TLSClientConfig: c.Transport.(*http.Transport).TLSClientConfig.Clone()}}
	defer h1.CloseIdleConnections()
	ws, _, err := websocket.Dial(ctx, "wss"+strings.TrimPrefix(base, "https")+"/acme/xmpp-websocket?room=a", &websocket.DialOptions{
		HTTPClient: h1, Host: testDomain, Subprotocols: []string{"xmpp"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != "xmpp" {
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	if err := ws.Write(ctx, websocket.MessageText, []byte("<open/>")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := ws.Read(ctx); err != nil || string(b) != "acme:<open/>" {
		t.Errorf("read %q, %v", b, err)
	}
	ws.Close(websocket.StatusNormalClosure, "")

	// Port 80.
	status, _, res = get(t, c, "http://"+s.plain.Addr().String()+"/standup?x=1")
	_, port, _ := net.SplitHostPort(s.Addrs()[0].String())
	if want := "https://" + testDomain + ":" + port + "/standup?x=1"; status != 301 || res.Header.Get("Location") != want {
		t.Errorf("redirect: %d %q, want %q", status, res.Header.Get("Location"), want)
	}
	if status, _, _ = get(t, c, "http://"+s.plain.Addr().String()+"/.well-known/acme-challenge/"); status != 404 {
		t.Errorf("challenge directory: %d", status)
	}
}

// Names that always mean TURN (turn.md §7.10), whatever the client offers or sends, until a
// reload says otherwise.
func TestTURNByName(t *testing.T) {
	t.Parallel()
	const name = "turn." + testDomain
	cfg := testConfig(t)
	cfg.ShareXMPP, cfg.TURNNames = true, []string{name}
	s, c := run(t, cfg, Handlers{})
	go func() {
		for {
			conn, err := s.TURN().Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4)
			_, _ = io.ReadFull(conn, b)
			fmt.Fprintf(conn, "turn %s", b)
			_ = conn.Close()
		}
	}()
	const get = "GET /_unlock HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	ask := func(name, alpn, want, answer string) {
		t.Helper()
		conf := c.Transport.(*http.Transport).TLSClientConfig.Clone()
		conf.ServerName, conf.InsecureSkipVerify, conf.NextProtos = name, true, nil
		if alpn != "" {
			conf.NextProtos = strings.Split(alpn, " ")
		}
		conn, err := tls.Dial("tcp", s.Addrs()[0].String(), conf)
		if err != nil {
			t.Errorf("%s, %s: %v", name, alpn, err)
			return
		}
		defer conn.Close()
		if p := conn.ConnectionState().NegotiatedProtocol; p != want {
			t.Errorf("%s, %s: speaks %q, want %q", name, alpn, p, want)
		}
		_, _ = io.WriteString(conn, get)
		if got, _ := io.ReadAll(conn); !strings.HasPrefix(string(got), answer) {
			t.Errorf("%s, %s: got %q, want %q", name, alpn, got, answer)
		}
	}
	ask(name, "", "", "turn GET ")
	ask("TURN."+testDomain, "", "", "turn GET ")
	ask(name, "h2 http/1.1", "", "turn GET ")
	ask(name, "xmpp-client", "", "turn GET ")
	ask(name, "http/1.1 stun.turn", "stun.turn", "turn GET ")
	ask(name, "stun.nat-discovery", "stun.nat-discovery", "turn GET ")
	ask(testDomain, "", "", "HTTP/1.1 200 OK")
	ask(testDomain, "http/1.1", "http/1.1", "HTTP/1.1 200 OK")
	ask("other."+testDomain, "", "", "HTTP/1.1 200 OK")

	cfg.TURNNames = nil
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	ask(name, "http/1.1", "http/1.1", "HTTP/1.1 200 OK")
}

// One port for HTTPS, TURN and XMPP, told apart by ALPN or the first byte.
func TestShare443(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.ShareXMPP = true
	s, c := run(t, cfg, Handlers{})
	addr := s.Addrs()[0].String()
	base := c.Transport.(*http.Transport).TLSClientConfig

	// Who takes a protocol says its name and repeats a byte.
	for name, ln := range map[string]net.Listener{"turn": s.TURN(), "xmpp": s.XMPP()} {
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				b := make([]byte, 4)
				io.ReadFull(conn, b)
				fmt.Fprintf(conn, "%s %x", name, b)
				conn.Close()
			}
		}()
	}
	for _, x := range []struct {
		name string
		alpn []string
		send string
		want string
	}{
		{"TURN by ALPN", []string{"stun.turn"}, "\x00\x03\x00\x08", "turn 00030008"},
		{"TURN by ALPN as coturn's clients ask", []string{"http/1.1", "stun.turn"}, "\x00\x03\x00\x08", "turn 00030008"},
		{"NAT discovery by ALPN", []string{"stun.nat-discovery"}, "\x00\x01\x00\x00", "turn 00010000"},
		{"TURN without ALPN", nil, "\x00\x03\x00\x08", "turn 00030008"},
		{"STUN binding without ALPN", nil, "\x00\x01\x00\x00", "turn 00010000"},
		{"XMPP by ALPN", []string{"xmpp-client"}, "<str", "xmpp 3c737472"},
		{"HTTP/1.1 by ALPN", []string{"http/1.1"}, "GET /_unlock HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK"},
		{"HTTP without ALPN", nil, "GET /_unlock HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK"},
		{"HTTP post without ALPN", nil, "POST /_unlock HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "HTTP/1.1 405"},
		{"rubbish without ALPN", nil, "\xff\xfe\xfd\xfc\r\n\r\n", "HTTP/1.1 400"},
	} {
		t.Run(x.name, func(t *testing.T) {
			conf := base.Clone()
			conf.NextProtos = x.alpn
			conn, err := tls.Dial("tcp", addr, conf)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			io.WriteString(conn, x.send)
			got, _ := io.ReadAll(conn)
			if !strings.HasPrefix(string(got), x.want) {
				t.Errorf("got %q, want %q", got, x.want)
			}
		})
	}
	conf := base.Clone()
	conf.NextProtos = []string{"something-else"}
	if conn, err := tls.Dial("tcp", addr, conf); err == nil {
		conn.Close()
		t.Error("an unknown ALPN is accepted")
	}
	conf = base.Clone()
	conf.MaxVersion = tls.VersionTLS11
	if conn, err := tls.Dial("tcp", addr, conf); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is accepted")
	}
	if got, err := tls.Dial("tcp", addr, base.Clone()); err == nil {
		defer got.Close()
		if got.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
	}
}

func TestWithoutTLS(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.TLSOff = true
	s, c := run(t, cfg, Handlers{})
	if s.TURN() != nil {
		t.Error("TURN without TLS")
	}
	status, body, res := get(t, c, "http://"+s.Addrs()[0].String()+"/config.js")
	if status != 200 || res.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("%d %v", status, res.Header)
	}
	if v := scriptValue(t, "config", body); at(v, "websocket") != "ws://"+testDomain+"/xmpp-websocket" {
		t.Errorf("websocket %v", at(v, "websocket"))
	}
}

func TestBind(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()

	cfg := testConfig(t)
	cfg.Listen = []Bind{{Addr: addr}}
	if _, err := Open(cfg, testCerts(t, cfg.DataDir), Handlers{}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("a set address that is taken: %v", err)
	}
	cfg.Listen = []Bind{{Addr: addr, Default: true, Fallback: "127.0.0.1:0"}}
	cfg.HTTP = Bind{Addr: addr, Default: true}
	cfg.Admin = Bind{Addr: addr, Default: true, Fallback: "127.0.0.1:0"}
	s := open(t, cfg, Handlers{})
	if s.Addrs()[0].String() == addr || s.plain != nil || s.AdminAddr() == nil {
		t.Errorf("defaults: %v %v %v", s.Addrs(), s.plain, s.AdminAddr())
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	n := newConnCount(nil)
	n.limit = func(a netip.Addr) int {
		if a.IsLoopback() {
			return 0
		}
		return 2
	}
	a, b := addrOf("192.0.2.1:5"), addrOf("[2001:db8::1]:5")
	same := addrOf("[2001:db8::2]:9") // the same /64
	if !n.add(a) || !n.add(a) || n.add(a) {
		t.Error("two are allowed, not three")
	}
	if !n.add(b) || !n.add(same) || n.add(b) {
		t.Error("an IPv6 subscriber counts as one")
	}
	n.remove(a)
	if !n.add(a) {
		t.Error("a closed connection still counts")
	}
	if lo := addrOf("127.0.0.1:1"); !n.add(lo) || !n.add(lo) || !n.add(lo) {
		t.Error("loopback is limited")
	}
	if n.open() != 7 {
		t.Errorf("%d open, want 7", n.open())
	}
}

func TestRequestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r requestRate
		a := addrOf("192.0.2.1")
		for i := range 5 {
			if !r.allow(a, 1, 5, time.Now()) {
				t.Fatalf("request %d of the burst refused", i)
			}
		}
		if r.allow(a, 1, 5, time.Now()) {
			t.Error("beyond the burst")
		}
		if !r.allow(addrOf("192.0.2.2"), 1, 5, time.Now()) {
			t.Error("another address pays for it")
		}
		time.Sleep(time.Second) // the bubble's clock
		if !r.allow(a, 1, 5, time.Now()) {
			t.Error("nothing refilled")
		}
	})
}

func TestConferenceRequestsAreLimited(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Limits.RequestsPerIP, cfg.Limits.RequestsBurst = 0.001, 2
	s := open(t, cfg, tellAll())
	for i, want := range []int{200, 200, 429} {
		if got := ask(t, s, "POST /conference-request/v1"); got.StatusCode != want {
			t.Errorf("request %d: %d, want %d", i, got.StatusCode, want)
		}
	}
	// Those that come by stanza count with them.
	if s.MayAsk(netip.MustParseAddr("198.51.100.7")) {
		t.Error("by another way it has more")
	}
	if !s.MayAsk(netip.MustParseAddr("203.0.113.8")) || !s.MayAsk(netip.MustParseAddr("127.0.0.1")) {
		t.Error("another address pays for it, or this machine")
	}
}

// A body that never ends holds no handler for long, and a BOSH request may wait
// longer than that once its body is read.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.TLSOff = true
	cfg.Limits.BodyTimeout = 50 * time.Millisecond
	cfg.Limits.Body = 100
	waited := make(chan struct{})
	s, _ := run(t, cfg, Handlers{BOSH: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil && string(b) == "wait" {
			select {
			case <-waited:
			case <-r.Context().Done():
				err = r.Context().Err()
			}
		}
		fmt.Fprintf(w, "%d %v", len(b), err != nil)
	})})
	exchange := func(request string) string {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(conn, request)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return string(b)
	}
	head := "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
	if got := exchange(head + "50\r\n\r\nhalf"); got != "4 true" {
		t.Errorf("half a body: %q", got)
	}
	if got := exchange(head + "200\r\n\r\n" + strings.Repeat("x", 200)); got != "100 true" {
		t.Errorf("too large a body: %q", got)
	}
	// http.Server waits for the rest of a body before it answers, also when nobody
	// wants it.
	for _, path := range []string{"/nothing/here/at-all", "/_/files/x", "/socket.io/"} {
		if got := exchange("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\nhalf"); got == "" {
			t.Errorf("%s: no answer", path)
		}
	}
	timer := time.AfterFunc(200*time.Millisecond, func() { close(waited) })
	defer timer.Stop()
	if got := exchange(head + "4\r\n\r\nwait"); got != "4 false" {
		t.Errorf("a waiting request: %q", got)
	}
}

func TestPanicInAHandler(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t), Handlers{BOSH: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })})
	if got := ask(t, s, "POST /http-bind"); got.StatusCode != 500 || strings.Contains(got.body, "boom") {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
}

// An upgrade is served without a restart, and tabs of the build before find
// their chunks for a day.
func TestBuildIsReplacedWhileServing(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := open(t, cfg, Handlers{})
	if s.state.Load().build() != nil {
		t.Fatal("a build from nowhere")
	}
	dir := filepath.Join(cfg.DataDir, "web")
	install := func(chunk string) {
		build := stock(t)
		if err := os.WriteFile(filepath.Join(build, "libs", chunk), []byte(chunk), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := swap(build, dir); err != nil {
			t.Fatal(err)
		}
	}
	install("one.js")
	if s.state.Load().build() == nil || ask(t, s, "GET /libs/one.js").StatusCode != 200 {
		t.Error("the first build isn't served")
	}
	install("two.js")
	for chunk, want := range map[string]int{"one.js": 200, "two.js": 200, "none.js": 404} {
		if got := ask(t, s, "GET /libs/"+chunk); got.StatusCode != want {
			t.Errorf("%s: %d, want %d", chunk, got.StatusCode, want)
		}
	}
	long := time.Now().Add(-2 * keepOld)
	install("three.js")
	if err := os.Chtimes(dir+oldSuffix, long, long); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "GET /libs/two.js"); got.StatusCode != 404 {
		t.Errorf("the old build is served for ever: %d", got.StatusCode)
	}
}
