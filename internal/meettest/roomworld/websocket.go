package roomworld

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"confab/muc"
	"confab/xmpp"
)

// loginHosts are the domains that clients of scripts have their names at.
var loginHosts = []string{"meet.example", "v0.meet.jitsi", "recorder.meet.example"}

// front is what clients over WebSocket come through: the server of sessions behind
// an HTTP server on an in-memory network, in which a synctest bubble can see
// that nothing moves any more.
type front struct {
	world *World
	srv   *xmpp.Server
	net   *pipes

	sent int // stanzas of all clients

	mu       sync.Mutex
	accounts map[string]xmpp.Account // by the name that the URL claims, with its domain
}

func (w *World) openFront(t testing.TB, commands []string) {
	f := &front{world: w, net: newPipes(), accounts: map[string]xmpp.Account{}}
	cfg := xmpp.DefaultConfig()
	cfg.Commands = commands
	cfg.LoginRate = 1 << 20 // connections are lost all the time
	for _, h := range w.hosts {
		cfg.Hosts = append(cfg.Hosts, xmpp.LoginHost{Host: h, Auth: f})
	}
	f.srv = xmpp.NewServer(cfg, w.Router)
	web := &http.Server{Handler: f.srv.WebSocketHandler()}
	var wg sync.WaitGroup
	wg.Go(func() { _ = web.Serve(f.net) })
	t.Cleanup(func() {
		if err := f.srv.Close(); err != nil {
			t.Error(err)
		}
		if n := f.srv.Stats().Panics; n != 0 {
			t.Error("panics of sessions:", n)
		}
		_ = web.Close()
		wg.Wait()
	})
	w.front = f
}

// Mechanisms, Start: the test lets in whoever claims a name by its URL, as the server
// does with names that it has promised; no password is asked for, that is the
// business of xmpp/auth.
func (f *front) Mechanisms(*xmpp.Peer) []string { return []string{"ANONYMOUS"} }

func (f *front) Start(_ context.Context, p *xmpp.Peer, _ string) (xmpp.Exchange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.accounts[p.Attrs.CustomUsername+"@"+p.Host.Domain]
	if !ok {
		return nil, &xmpp.SASLFailure{Cond: xmpp.SASLNotAuthorized}
	}
	return login(a), nil
}

type login xmpp.Account

func (login) Step([]byte) ([]byte, bool, error) { return nil, true, nil }
func (l login) Account() xmpp.Account           { return xmpp.Account(l) }

// lostEvery is after how many stanzas of a world's clients the one that has sent the
// last loses its connection and resumes its session.
const lostEvery = 7

// Session is a client that is connected over WebSocket, as lib-jitsi-meet is.
type Session struct {
	front *front
	jid   xmpp.JID
	url   url.Values
	smID  string
	conn  *websocket.Conn
	acks  chan uint32   // how many stanzas the server says that it has handled
	done  chan struct{} // the connection's reader has ended
	sent  uint32

	mu      sync.Mutex
	queue   []string
	handled uint32
}

// dial logs jid in with a URL and an account that say what c does: features and
// identity are those of its claims.
func (f *front) dial(jid xmpp.JID, c muc.Client) (*Session, error) {
	f.mu.Lock()
	f.accounts[jid.Bare().String()] = xmpp.Account{Name: jid.Local, Host: c.Host, Guest: c.Guest, Claims: c.Claims}
	f.mu.Unlock()
	s := &Session{front: f, jid: jid, url: url.Values{"customusername": {jid.Local}}, acks: make(chan uint32, 1)}
	for name, v := range map[string]string{"room": c.Room, "prefix": c.Tenant, "token": c.Token} {
		if v != "" {
			s.url.Set(name, v)
		}
	}
	return s, s.connect()
}

// connect opens a connection and logs in, or resumes the session.
func (s *Session) connect() error {
	addr := addressOf(s.jid)
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.front.net.dial(ctx, addr) }}
	conn, _, err := websocket.Dial(context.Background(), "ws://"+s.jid.Domain+"/xmpp-websocket?"+s.url.Encode(), &websocket.DialOptions{
		Subprotocols: []string{"xmpp"}, HTTPClient: &http.Client{Transport: tr},
	})
	if err != nil {
		return err
	}
	conn.SetReadLimit(-1)
	s.conn, s.done = conn, make(chan struct{})
	if err := s.login(); err != nil {
		_ = conn.CloseNow()
		close(s.done)
		return fmt.Errorf("login of %s: %w", s.jid, err)
	}
	go s.read()
	return nil
}

// reconnect loses the connection and resumes: nothing may get lost, or be repeated.
func (s *Session) reconnect() error {
	_ = s.conn.CloseNow()
	<-s.done
	s.url.Set("previd", s.smID)
	return s.connect()
}

// login is what lib-jitsi-meet does (client-signaling.md §4), but that it asks for
// the resource that the script knows.
func (s *Session) login() error {
	open := `<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="` + s.jid.Domain + `" version="1.0"/>`
	type step struct{ send, until string }
	steps := []step{
		{open, "<stream:features "},
		{`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>`, "<success "},
		{open, "<stream:features "},
	}
	if s.smID == "" {
		bind := new(xmpp.Enc).Start("iq", xmpp.NSClient).Attr("type", "set").Attr("id", "_bind_auth_2").
			Start("bind", xmpp.NSBind).Leaf("resource", "", s.jid.Resource).End().End().String()
		steps = append(steps, step{bind, "<jid>" + xmpp.Escape(s.jid.String()) + "</jid>"},
			step{`<enable xmlns="` + xmpp.NSSM + `" resume="true"/>`, "<enabled "})
	} else {
		s.mu.Lock()
		h := strconv.FormatUint(uint64(s.handled), 10)
		s.mu.Unlock()
		steps = append(steps, step{`<resume xmlns="` + xmpp.NSSM + `" h="` + h + `" previd="` + s.smID + `"/>`,
			`<resumed xmlns="` + xmpp.NSSM + `" h="` + strconv.FormatUint(uint64(s.sent), 10) + `" `})
	}
	for _, step := range steps {
		if err := s.write(step.send); err != nil {
			return err
		}
		for got := ""; !strings.Contains(got, step.until); {
			_, b, err := s.conn.Read(context.Background())
			if err != nil {
				return fmt.Errorf("no %s: %w", step.until, err)
			}
			got = string(b)
			if strings.HasPrefix(got, "<failure") || strings.HasPrefix(got, "<failed") || strings.HasPrefix(got, "<stream:error") || strings.Contains(got, `type="error"`) {
				return errors.New(got)
			}
			if m := smIDRE.FindStringSubmatch(got); m != nil {
				s.smID = m[1]
			}
		}
	}
	return nil
}

var smIDRE = regexp.MustCompile(`^<enabled xmlns="` + xmpp.NSSM + `" id="([^"]+)" resume="true" `)

func (s *Session) write(text string) error {
	return s.conn.Write(context.Background(), websocket.MessageText, []byte(text))
}

var ackRE = regexp.MustCompile(`^<a xmlns="` + xmpp.NSSM + `" h="(\d+)"/>$`)

// read takes what comes, and answers requests for acknowledgements as strophe's
// stream management does.
func (s *Session) read() {
	defer close(s.done)
	for {
		_, b, err := s.conn.Read(context.Background())
		if err != nil {
			return
		}
		s.mu.Lock()
		text, answer := string(b), ""
		switch m := ackRE.FindStringSubmatch(text); {
		case m != nil:
			n, _ := strconv.ParseUint(m[1], 10, 32)
			s.acks <- uint32(n) // one is asked for at a time
		case text == `<r xmlns="`+xmpp.NSSM+`"/>`:
			answer = `<a xmlns="` + xmpp.NSSM + `" h="` + strconv.FormatUint(uint64(s.handled), 10) + `"/>`
		case strings.HasPrefix(text, "<close "):
		case strings.HasPrefix(text, "<presence ") || strings.HasPrefix(text, "<message ") || strings.HasPrefix(text, "<iq "):
			s.handled++
			s.queue = append(s.queue, text)
		default: // a stream error, say
			s.queue = append(s.queue, text)
		}
		s.mu.Unlock()
		if answer != "" {
			_ = s.write(answer) // the next read tells of an error
		}
	}
}

// JID is the session's full address.
func (s *Session) JID() xmpp.JID { return s.jid }

var rootRE = regexp.MustCompile(`^<[a-z]+`)

// heldBack is the longest that the server may take for one stanza: rates hold a
// client back that sends much.
const heldBack = time.Minute

// Send returns when the server has handled the stanza.
func (s *Session) Send(x string) error {
	root, _, _ := strings.Cut(x, ">")
	if !strings.Contains(root, "xmlns=") {
		x = rootRE.ReplaceAllString(x, `$0 xmlns="`+xmpp.NSClient+`"`)
	}
	late := time.NewTimer(heldBack)
	defer late.Stop()
	s.sent++
	for _, frame := range []string{x, `<r xmlns="` + xmpp.NSSM + `"/>`} {
		if err := s.write(frame); err != nil {
			// The server may have closed before the client has finished writing.
			select {
			case <-s.done:
				return nil
			case <-late.C:
				return err
			}
		}
	}
	for {
		select {
		case n := <-s.acks:
			if n != s.sent {
				continue
			}
			if s.front.sent++; s.front.sent%lostEvery == 0 {
				return s.reconnect()
			}
			return nil
		case <-s.done: // what came is for the script to look at
			return nil
		case <-late.C:
			return fmt.Errorf("%s is not handled", x)
		}
	}
}

// Receive returns the next stanza that has arrived, "" for none.
func (s *Session) Receive() (string, error) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return "", nil
	}
	x := s.queue[0]
	s.queue = s.queue[1:]
	return x, nil
}

// Close ends the session as a page does that goes.
func (s *Session) Close() error {
	_ = s.write(`<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>`)
	<-s.done
	_ = s.conn.CloseNow() // frees it; it has most likely been closed
	return nil
}

// addressOf is the network address of a client: each account has its own.
func addressOf(j xmpp.JID) net.Addr {
	sum := 0
	for _, c := range j.Bare().String() {
		sum = sum*31 + int(c)
	}
	return &net.TCPAddr{IP: net.IPv4(100, byte(64+sum>>16&63), byte(sum>>8), byte(sum)), Port: 40000}
}

// pipes is a network in memory, and its listener.
type pipes struct {
	conns chan net.Conn
	close chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), close: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, from net.Addr) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- pipe{far, from}:
		return near, nil
	case <-p.close:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.close:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.close) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// pipe is an end of a connection that comes from an address.
type pipe struct {
	net.Conn
	remote net.Addr
}

func (p pipe) RemoteAddr() net.Addr { return p.remote }
