package xmpp_test

import (
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"confab/xmpp"
	"confab/xmpp/auth"
)

// pipes is a listener of connections that never leave the process.
type pipes struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.over) })
	return nil
}

func (p *pipes) Addr() net.Addr { return loopback }

// loopback may log in without TLS.
var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5222}

type local struct{ net.Conn }

func (local) RemoteAddr() net.Addr { return loopback }
func (local) LocalAddr() net.Addr  { return loopback }

// FuzzStream says anything to a server over a connection of its own, in whatever state
// that is: it answers, ends the stream, and nothing is left.
func FuzzStream(f *testing.F) {
	const (
		open  = `<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" to="meet.test" version="1.0">`
		login = open + `<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>` + open
		bind  = login + `<iq type="set" id="1"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`
	)
	for _, s := range []string{
		open, "<?xml version='1.0'?>" + open + "</stream:stream>", login, bind,
		open + `<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>`,
		open + `<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="SCRAM-SHA-1">biwsbj1ob3N0LHI9YQ==</auth>` +
			`<response xmlns="urn:ietf:params:xml:ns:xmpp-sasl">Yz1iaXdz</response><abort xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`,
		bind + `<enable xmlns="urn:xmpp:sm:3" resume="true"/><r xmlns="urn:xmpp:sm:3"/><a xmlns="urn:xmpp:sm:3" h="4294967295"/>`,
		login + `<resume xmlns="urn:xmpp:sm:3" previd="x" h="0"/>`,
		bind + `<presence to="r@conference.meet.test/n"/><presence/><presence type="unavailable"/>`,
		bind + `<message to="" type="chat"><body>x</body></message><iq type="get" id="2"><query xmlns="http://jabber.org/protocol/disco#info"/></iq>`,
		bind + `<iq type="get"/><iq type="error" id="1"/><foo/><iq to="@" type="get" id="3"><ping xmlns="urn:xmpp:ping"/></iq>`,
	} {
		f.Add(s)
	}
	quiet := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, input string) {
		r := xmpp.NewRouter(quiet)
		cfg := xmpp.DefaultConfig()
		cfg.Hosts = []xmpp.LoginHost{{Host: xmpp.NewHost(r, "meet.test"), Auth: auth.Either{auth.Token{Guests: true}, passwords()}}}
		srv := xmpp.NewServer(cfg, r)
		ln := &pipes{conns: make(chan net.Conn), over: make(chan struct{})}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := srv.ServeTCP(ln); err != nil {
				t.Error(err)
			}
		})
		ours, theirs := net.Pipe()
		ln.conns <- local{theirs}
		wg.Go(func() { _, _ = io.Copy(io.Discard, ours) })
		_, _ = io.WriteString(ours, input) // an error is that the server has had enough
		_ = ours.Close()
		_ = ln.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		st := srv.Stats()
		if st.Panics != 0 || st.Streams != 0 || st.Detached != 0 || len(srv.Sessions()) != 0 {
			t.Errorf("%d panics, %d streams, %d to be resumed, %v", st.Panics, st.Streams, st.Detached, srv.Sessions())
		}
	})
}
