package scenario

import (
	"errors"
	"strings"
	"testing"

	"confab/internal/meettest"
	"confab/xmpp"
)

func TestModeratorMutes(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	w.must(a.Mute(w.ctx, b.Nick(), "audio"))
	w.must(b.Until(w.ctx, "to be muted", func() bool { return b.Muted("audio") }))
	w.must(a.Until(w.ctx, "Bea to be shown muted", func() bool {
		o, _ := a.Occupant(b.Nick())
		return o.Sources[b.Nick()+"-a0"].Muted
	}))
	var se *xmpp.StanzaError
	if err := b.Mute(w.ctx, a.Nick(), "audio"); !errors.As(err, &se) || se.Cond != xmpp.CondNotAllowed && se.Cond != xmpp.CondForbidden {
		t.Errorf("a participant mutes the moderator: %v", err)
	}
	b.SetMuted("video", true)
	w.must(a.Until(w.ctx, "Bea's camera to be shown off", func() bool {
		o, _ := a.Occupant(b.Nick())
		return o.Sources[b.Nick()+"-v0"].Muted
	}))
}

func TestKick(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.must(a.Until(w.ctx, "to be moderator", a.Moderator))
	var se *xmpp.StanzaError
	if err := b.Kick(w.ctx, a.Nick()); !errors.As(err, &se) {
		t.Errorf("a participant kicks the moderator: %v", err)
	}
	w.must(a.Kick(w.ctx, b.Nick()))
	w.must(b.Until(w.ctx, "to be kicked", func() bool { return b.Kicked() != "" }))
	w.must(a.Until(w.ctx, "Bea to be gone", func() bool { return a.Others() == 0 }))
}

// The signalling of one is cut; others see nothing of it, and it comes back to
// what happened meanwhile.
func TestResumeAfterCut(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	b.Cut()
	w.must(a.Chat("are you there?"))
	c := w.join("Cem", nil)
	w.must(c.Media(w.ctx))
	w.sees(a, b, 20) // the media never stopped
	if _, there := a.Occupant(b.Nick()); !there {
		t.Error("the others saw the cut")
	}
	w.must(b.Chat("sent while cut off"))
	w.must(b.Resume(w.ctx))
	if _, err := b.ExpectChat(w.ctx, "are you there?"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ExpectChat(w.ctx, "sent while cut off"); err != nil {
		t.Fatal(err)
	}
	w.talk(a, b, c)
	w.must(b.Ping(w.ctx))
}

// A client comes back before the server has noticed that it was gone: the old
// socket is ended, the session goes on.
func TestResumeWhileTheOldSocketLives(t *testing.T) {
	w := newWorld(t, "")
	a := w.join("Ann", nil)
	b := w.join("Bea", nil)
	w.talk(a, b)
	for range 3 {
		w.must(b.Resume(w.ctx))
		w.must(b.Ping(w.ctx))
	}
	if _, there := a.Occupant(b.Nick()); !there {
		t.Error("the others saw the cuts")
	}
	w.must(a.Chat("still here?"))
	if _, err := b.ExpectChat(w.ctx, "still here?"); err != nil {
		t.Error(err)
	}
	w.sees(a, b, 5)
}

// A guest waits for the host, who logs in with the printed account.
func TestHostLogsIn(t *testing.T) {
	w := newWorld(t, "require_host = true\n")
	guest := w.Dial(w.ctx, "Gus", func(o *meettest.Options) { o.Room, o.Login, o.Media = w.room, "guest."+w.Domain, meettest.Camera() })
	var se *xmpp.StanzaError
	if err := guest.Join(w.ctx, w.room); !errors.As(err, &se) || se.Cond != xmpp.CondNotAuthorized || se.Type != "auth" {
		t.Fatalf("a guest without a host: %v", err)
	}
	for _, mechanism := range []string{"SCRAM-SHA-1", "PLAIN"} {
		opt := w.Options("Host")
		opt.Account, opt.Password, opt.Mechanism = w.HostLogin, "wrong", mechanism
		var sasl *meettest.SASLError
		if _, err := meettest.Dial(w.ctx, opt); !errors.As(err, &sasl) || sasl.Cond != "not-authorized" {
			t.Errorf("%s with a wrong password: %v", mechanism, err)
		}
	}
	if _, err := meettest.Dial(w.ctx, w.Options("nobody")); !errors.Is(err, meettest.ErrPasswordRequired) {
		t.Errorf("anonymous at the main host: %v", err)
	}
	host := w.Dial(w.ctx, "Host", func(o *meettest.Options) {
		o.Room, o.Account, o.Password, o.Media = w.room, w.HostLogin, w.HostPassword, meettest.Camera()
	})
	w.must(host.Join(w.ctx, w.room))
	w.must(guest.Join(w.ctx, w.room))
	w.talk(host, guest)
	if !host.Moderator() || guest.Moderator() {
		t.Errorf("moderator: host %v, guest %v", host.Moderator(), guest.Moderator())
	}
}

// kill -9: accounts are there, clients come again by themselves.
func TestServerCrashes(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	w.Kill()
	for _, c := range []*meettest.Client{a, b} {
		<-c.Done()
	}
	w.Server = meettest.StartServer(t, meettest.ServerOptions{Like: w.Server})
	if strings.Contains(w.Log(), "shown once") {
		t.Error("a second host account")
	}
	a, b = w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	host := w.Dial(w.ctx, "Host", func(o *meettest.Options) {
		o.Room, o.Account, o.Password, o.Media = w.room, w.HostLogin, w.HostPassword, meettest.Camera()
	})
	w.must(host.Join(w.ctx, w.room))
	w.talk(a, b, host)
}
