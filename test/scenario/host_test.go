package scenario

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"confab/internal/meettest"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// conference sends a conference request as a browser with a machine-uid does, and
// with the id of a session, if it has one.
func (w *world) conference(c *meettest.Client, machine, session string) (*jitmeet.ConferenceResponse, *xmpp.StanzaError) {
	w.t.Helper()
	req := jitmeet.ConferenceRequest{Room: c.RoomJID(w.room).String(), MachineUID: machine, SessionID: session}
	reply, err := c.IQ(w.ctx, xmpp.TypeSet, "focus."+w.Domain, req.String())
	if se, ok := errors.AsType[*xmpp.StanzaError](err); ok {
		return nil, se
	}
	w.must(err)
	return jitmeet.ParseConferenceResponse(reply.Child(jitmeet.NSFocus, "conference")), nil
}

func (w *world) guest(name string) *meettest.Client {
	w.t.Helper()
	return w.Dial(w.ctx, name, func(o *meettest.Options) { o.Login, o.Room, o.Silent = "guest."+w.Domain, w.room, true })
}

// account logs in as LJM's authenticateAndUpgradeRole does: a second connection.
func (w *world) account(user, password string) *meettest.Client {
	w.t.Helper()
	return w.Dial(w.ctx, user, func(o *meettest.Options) {
		o.Room, o.Account, o.Password, o.Silent = w.room, user, password, true
	})
}

// "I am the host" (client-signaling.md §7.2): the guest waits, signs in on another
// connection, and comes back with the id of that login.
func TestIAmTheHost(t *testing.T) {
	w := newWorld(t, "require_host = true\n")
	gus, eve := w.guest("Gus"), w.guest("Eve")
	for range 2 { // every 5 s in the app
		if _, se := w.conference(gus, "browser", ""); se == nil || se.Cond != xmpp.CondNotAuthorized || se.Type != "auth" {
			t.Fatalf("without a host: %v", se)
		}
	}
	login := w.account(w.HostLogin, w.HostPassword)
	if _, se := w.conference(eve, "browser", "invented"); se == nil || !strings.Contains(se.App, "session-invalid") {
		t.Errorf("an invented session: %v", se)
	}
	r, se := w.conference(login, "browser", "")
	if se != nil || !r.Ready || r.SessionID == "" || r.Identity != w.HostLogin+"@"+w.Domain {
		t.Fatalf("%+v %v", r, se)
	}
	w.must(login.Close())
	if _, se := w.conference(eve, "another browser", r.SessionID); se == nil || se.Cond != xmpp.CondNotAcceptable {
		t.Errorf("the session in another browser: %v", se)
	}
	back, se := w.conference(gus, "browser", r.SessionID)
	if se != nil || !back.Ready || back.SessionID != r.SessionID {
		t.Fatalf("%+v %v", back, se)
	}
	w.must(gus.Join(w.ctx, w.room))
	w.must(gus.Until(w.ctx, "to be moderator", gus.Moderator))

	// Guests come in now, and one of them signs in during the meeting.
	w.must(eve.Join(w.ctx, w.room))
	if eve.Moderator() {
		t.Error("a guest is moderator")
	}
	r, se = w.conference(w.account(w.HostLogin, w.HostPassword), "eve's", "")
	if se != nil {
		t.Fatal(se)
	}
	if _, se := w.conference(eve, "eve's", r.SessionID); se != nil {
		t.Fatal(se)
	}
	w.must(eve.Until(w.ctx, "to be moderator", eve.Moderator))

	// Logged out, the id is worth nothing.
	_, err := eve.IQ(w.ctx, xmpp.TypeSet, "focus."+w.Domain, (&jitmeet.Logout{SessionID: r.SessionID}).String())
	w.must(err)
	if _, se := w.conference(eve, "eve's", r.SessionID); se == nil || !strings.Contains(se.App, "session-invalid") {
		t.Errorf("after the logout: %v", se)
	}
}

// An account that is no host is a guest with a name; config.js tells clients where
// guests are, and with auth.guests = false that there are none.
func TestSecureDomainWithoutGuests(t *testing.T) {
	w := newWorld(t, "require_host = true\n[auth]\nguests = false\n")
	if js := w.configJS(); !strings.Contains(js, `"authdomain": "`+w.Domain+`"`) || strings.Contains(js, "anonymousdomain") {
		t.Errorf("config.js: %s", js)
	}
	if _, err := meettest.Dial(w.ctx, w.Options("nobody")); !errors.Is(err, meettest.ErrPasswordRequired) {
		t.Errorf("anonymous at the main host: %v", err)
	}
	opt := w.Options("nobody")
	opt.Login = "guest." + w.Domain
	if _, err := meettest.Dial(w.ctx, opt); err == nil {
		t.Error("there is a host for guests")
	}
	w.addAccount("bot", "secret", "--no-host")
	bot := w.account("bot", "secret")
	if _, se := w.conference(bot, "m", ""); se == nil || se.Cond != xmpp.CondNotAuthorized {
		t.Errorf("an account that is no host: %v", se)
	}
	host := w.account(w.HostLogin, w.HostPassword)
	w.must(host.Join(w.ctx, w.room))
	w.must(host.Until(w.ctx, "to be moderator", host.Moderator))
	w.must(bot.Join(w.ctx, w.room))
	if bot.Moderator() {
		t.Error("an account that is no host is moderator")
	}
}

func (w *world) configJS() string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, w.URL+"/config.js", nil)
	w.must(err)
	resp, err := w.HTTP().Do(req)
	w.must(err)
	defer resp.Body.Close()
	js, err := io.ReadAll(resp.Body)
	w.must(err)
	return string(js)
}

// addAccount is "confab user add", beside the running server.
func (w *world) addAccount(name, password string, flags ...string) {
	w.t.Helper()
	bin, err := meettest.Program()
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"user", "add", name, "--data", w.Dir, "--domain", w.Domain}, flags...)...)
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
}
