package xmpp

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

type handlerFunc func(s *Stanza) error

func (f handlerFunc) HandleStanza(_ context.Context, s *Stanza, _ bool) error { return f(s) }

func newTestRouter() *Router { return NewRouter(slog.New(slog.DiscardHandler)) }

func TestRequestAndReply(t *testing.T) {
	r := newTestRouter()
	a, err := r.NewLocalPort(MustJID("a@x.example/1"), func(*Stanza) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var b *LocalPort
	b, err = r.NewLocalPort(MustJID("b@x.example/1"), func(s *Stanza) error {
		b.Send(s.Result(`<pong xmlns="urn:p"/>`))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Request(t.Context(), NewStanza(IQ, TypeGet, "", JID{}, b.JID(), `<ping xmlns="urn:p"/>`), time.Second)
	if err != nil || !got.Has("urn:p", "pong") {
		t.Fatalf("%v, %v", got, err)
	}
	b.Close()
	_, err = a.Request(t.Context(), NewStanza(IQ, TypeGet, "", JID{}, b.JID(), `<ping xmlns="urn:p"/>`), time.Second)
	var se *StanzaError
	if !errors.As(err, &se) || se.Cond != CondRemoteServerNotFound {
		t.Fatalf("request to nobody: %v", err)
	}
}

// A third party can't answer somebody else's request (RFC 6120 §8.1.2.1).
func TestForgedReplyIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRouter()
		a, _ := r.NewLocalPort(MustJID("a@x.example/1"), func(*Stanza) error { return nil })
		_, _ = r.NewLocalPort(MustJID("b@x.example/1"), func(*Stanza) error { return nil })
		var got error
		id := a.Go(NewStanza(IQ, TypeGet, "", JID{}, MustJID("b@x.example/1"), `<q xmlns="urn:p"/>`), time.Minute, func(_ *Stanza, err error) { got = err })
		r.RouteNow(NewStanza(IQ, TypeResult, id, MustJID("evil@x.example/1"), a.JID(), ""))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !errors.Is(got, ErrTimeout) {
			t.Fatalf("got %v, want a timeout", got)
		}
	})
}

func TestBounces(t *testing.T) {
	r := newTestRouter()
	var got []*Stanza
	a, _ := r.NewLocalPort(MustJID("a@x.example/1"), func(s *Stanza) error { got = append(got, s); return nil })
	r.Serve("refuses.example", handlerFunc(func(*Stanza) error { return NotAllowed("no") }))
	r.Serve("fails.example", handlerFunc(func(*Stanza) error { return errors.New("secret detail") }))
	a.Send(NewStanza(Message, "", "m1", JID{}, MustJID("refuses.example"), "<body>hi</body>"))
	a.Send(NewStanza(Message, "", "m2", JID{}, MustJID("fails.example"), "<body>hi</body>"))
	a.Send(NewStanza(Message, TypeError, "m3", JID{}, MustJID("refuses.example"), "<body>hi</body>"))
	if len(got) != 2 {
		t.Fatalf("got %d bounces: %v", len(got), got)
	}
	if e := got[0].ErrorOf(); e.Cond != CondNotAllowed || e.Text != "no" || got[0].ID != "m1" {
		t.Errorf("first bounce %s", got[0])
	}
	if e := got[1].ErrorOf(); e.Cond != CondInternalServerError {
		t.Errorf("second bounce %s", got[1])
	}
	if _, err := r.NewLocalPort(MustJID("a@x.example/1"), nil); err == nil {
		t.Error("an address was bound twice")
	}
}
