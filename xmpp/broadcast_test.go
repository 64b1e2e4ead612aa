package xmpp

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// countingFramer swallows what is written and counts the elements.
type countingFramer struct {
	wsFramer
	left *atomic.Int64
	done chan struct{}
}

func (f *countingFramer) put([]byte) error {
	if f.left.Add(-1) == 0 {
		f.done <- struct{}{}
	}
	return nil
}
func (f *countingFramer) flush() error        { return nil }
func (f *countingFramer) finish(*StreamError) {}
func (f *countingFramer) kill()               {}

// presenceInner is one of captures/2026-web-join-two-bridge.xmpp, shortened.
const presenceInner = `<stats-id>Asa-d8Z</stats-id><c xmlns="http://jabber.org/protocol/caps" ver="dtzK/3xhISaXUMVg59IpXxdvKyQ=" hash="sha-1" node="https://jitsi.org/jitsi-meet"/><jitsi_participant_codecList>av1,vp9,vp8,h264</jitsi_participant_codecList><nick xmlns="http://jabber.org/protocol/nick">P1</nick><SourceInfo>{&quot;79bc87a6-a0&quot;:{&quot;muted&quot;:false},&quot;79bc87a6-v0&quot;:{&quot;muted&quot;:false}}</SourceInfo>`

// benchSessions makes n bound sessions whose writers write to framers that new makes.
func benchSessions(tb testing.TB, n int, newFramer func() framer) (*Server, []Port) {
	tb.Helper()
	r := NewRouter(slog.New(slog.DiscardHandler))
	h := NewHost(r, "meet.test")
	srv := NewServer(Config{Hosts: []LoginHost{{Host: h}}}, r)
	ports := make([]Port, n)
	var streams []*stream
	for i := range ports {
		st := &stream{srv: srv, fr: newFramer(), ctx: srv.ctx, host: &srv.cfg.Hosts[0], account: Account{Name: "u"}}
		s, err := st.newSession(randomID(9))
		if err != nil {
			tb.Fatal(err)
		}
		st.session = s
		st.startWriter(s, s.attach())
		ports[i] = s
		streams = append(streams, st)
	}
	tb.Cleanup(func() {
		if err := srv.Close(); err != nil {
			tb.Error(err)
		}
		for _, st := range streams {
			st.writing.Wait()
		}
	})
	return srv, ports
}

// broadcastTo returns a function that delivers one stanza to n sessions and waits
// until it is written to all.
func broadcastTo(tb testing.TB, n int) func() {
	left, done := new(atomic.Int64), make(chan struct{}, 1)
	_, ports := benchSessions(tb, n, func() framer { return &countingFramer{left: left, done: done} })
	s := NewStanza(Presence, "", "", MustJID("room@conference.meet.test/79bc87a6"), JID{}, presenceInner)
	return func() {
		left.Store(int64(n))
		for _, p := range ports {
			if err := p.Deliver(s); err != nil {
				tb.Fatal(err)
			}
		}
		<-done
	}
}

// A broadcast stanza costs no allocation, however many receive it.
func TestBroadcastAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	send := broadcastTo(t, 50)
	for range 20 {
		send()
	}
	if n := testing.AllocsPerRun(200, send); n >= 1 {
		t.Errorf("%v allocations per broadcast to 50", n)
	}
}

// BenchmarkBroadcast delivers one presence to 100 sessions and encodes it for
// each; the figures are per receiver.
func BenchmarkBroadcast(b *testing.B) {
	const receivers = 100
	send := broadcastTo(b, receivers)
	b.ReportAllocs()
	for i := 0; i < b.N; i += receivers {
		send()
	}
}

// BenchmarkBroadcastWebSocket does so over real sockets on loopback.
func BenchmarkBroadcastWebSocket(b *testing.B) {
	const receivers = 100
	var wg sync.WaitGroup
	b.Cleanup(wg.Wait)
	framers := make(chan framer, receivers)
	hold := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hw := &hijacked{ResponseWriter: w}
		conn, err := websocket.Accept(hw, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}})
		if err != nil {
			b.Error(err)
			return
		}
		framers <- newWSFramer(conn, hw.conn, DefaultConfig().WriteTimeout, true)
		<-hold
	}))
	defer web.Close()
	defer close(hold)
	s := NewStanza(Presence, "", "", MustJID("room@conference.meet.test/79bc87a6"), JID{}, presenceInner)
	size := len(s.Append(nil, JID{"u", "meet.test", "123456789012"}, true)) + 4 // of the frame header
	var left atomic.Int64
	done := make(chan struct{}, 1)
	_, ports := benchSessions(b, receivers, func() framer {
		conn := rawWebSocket(b, web.Listener.Addr().String())
		wg.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				if n > 0 && left.Add(-int64(n)) == 0 {
					done <- struct{}{}
				}
				if err != nil {
					return
				}
			}
		})
		b.Cleanup(func() { _ = conn.Close() })
		return <-framers
	})
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += receivers {
		left.Store(int64(size * receivers))
		for _, p := range ports {
			if err := p.Deliver(s); err != nil {
				b.Fatal(err)
			}
		}
		<-done
	}
	b.StopTimer()
}

// rawWebSocket upgrades by hand, so that the client's library is not measured.
func rawWebSocket(tb testing.TB, addr string) net.Conn {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	key := make([]byte, 16)
	rand.Read(key)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\nSec-WebSocket-Key: "+
		base64.StdEncoding.EncodeToString(key)+"\r\n\r\n"); err != nil {
		tb.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			tb.Fatal(err)
		}
		if strings.TrimSpace(line) == "" {
			return conn
		}
	}
}
