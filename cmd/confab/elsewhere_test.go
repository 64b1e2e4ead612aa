package main

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
)

// coturn starts Debian's coturn on a port of loopback and returns how to end it.
func coturn(t *testing.T, port, secret string) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "turnserver", "-n", "--listening-ip=127.0.0.1", "--listening-port="+port, "--relay-ip=127.0.0.1",
		"--use-auth-secret", "--static-auth-secret="+secret, "--realm=relay.example", "--allow-loopback-peers", "--no-cli", "--no-tls", "--no-dtls",
		"--log-file=stdout", "--simple-log", "--pidfile="+filepath.Join(dir, "pid"), "--userdb="+filepath.Join(dir, "db"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// TestExistingCoturn: this server has no relay and hands out a coturn that has the same
// secret. What clients get works there; when coturn ends it leaves the answers, a client
// that asked for its type is told, and it comes back.
func TestExistingCoturn(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("turnserver"); err != nil {
		t.Skip("coturn is not installed: ", err)
	}
	const secret = "north-north-north-north"
	w := newWorld(t)
	if status, _, errOut := w.run(t.Context(), "secret\n", "user", "add", "anna"); status != 0 {
		t.Fatal(errOut)
	}
	port := freePort(t)
	cfg := w.config(t)
	cfg.Admin.APIKeys, cfg.Admin.Listen = []config.Secret{"a-key-of-16-bytes"}, "127.0.0.1:"+freePort(t)
	cfg.TURN.Mode, cfg.TURN.Secrets, cfg.TURN.Probe = "off", []config.Secret{secret}, config.Duration{Duration: 100 * time.Millisecond}
	n, _ := strconv.Atoi(port)
	cfg.TURN.Servers = []config.TURNServer{{Type: "turn", Host: "127.0.0.1", Port: n}}
	end := coturn(t, port, secret)
	startServer(t, cfg, reloads{}, io.Discard)

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	type service struct {
		Type, Host, Transport, Username, Password string
		Port                                      int
	}
	told := func() []service {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+cfg.Web.Listen[0]+"/_/api/v1/turn-credentials", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer a-key-of-16-bytes")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body struct{ Services []service }
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.StatusCode, err)
		}
		return body.Services
	}
	until(t, "coturn is handed out", func() bool { return len(told()) == 1 })
	until(t, "its credential works there", func() bool {
		s := told()
		return len(s) == 1 && s[0].Type == "turn" && s[0].Transport == "udp" && s[0].Port == n &&
			allocate(t, port, credential.Credential{Username: s[0].Username, Password: s[0].Password}) == nil
	})
	if err := allocate(t, port, credential.Credential{Username: told()[0].Username, Password: "wrong"}); err == nil {
		t.Error("coturn lets everybody in, so this proves nothing")
	}
	uclient(t, "-u", told()[0].Username, "-w", told()[0].Password, "-y", "-p", port, "127.0.0.1")

	up := func() string {
		resp, err := client.Get("http://" + cfg.Admin.Listen + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_, value, _ := strings.Cut(string(text), `confab_turn_server_up{server="turn:127.0.0.1:`+port+`?transport=udp"} `)
		return value[:min(1, len(value))]
	}
	if got := up(); got != "1" {
		t.Errorf("the metric of a relay that answers: %q", got)
	}
	anna := dialXMPP(t, cfg.XMPP.TLSPort, "meet.example", "anna", "secret")
	if got := anna.say(`<iq id="s" type="get" to="meet.example"><services xmlns="urn:xmpp:extdisco:2" type="turn"/></iq>`, "</iq>"); !strings.Contains(got, `type="result"`) || !strings.Contains(got, `port="`+port+`" transport="udp"`) {
		t.Error(got)
	}
	end()
	got := anna.say("", "</iq>")
	if !strings.Contains(got, `type="set"`) || !strings.Contains(got, `<service action="delete" type="turn" host="127.0.0.1" port="`+port+`" transport="udp"/>`) {
		t.Error(got)
	}
	if got := up(); got != "0" {
		t.Errorf("the metric of a relay that is gone: %q", got)
	}
	if s := told(); len(s) != 0 {
		t.Errorf("%v", s)
	}
	if got := anna.say(`<iq id="s2" type="get" to="meet.example"><services xmlns="urn:xmpp:extdisco:2"/></iq>`, "</iq>"); !strings.Contains(got, "<service-unavailable") {
		t.Error(got)
	}
	end = coturn(t, port, secret)
	if got := anna.say("", "</iq>"); !strings.Contains(got, `<service action="add" type="turn" host="127.0.0.1"`) {
		t.Error(got)
	}
	end()
}

// TestTURNReload: SIGHUP takes over servers and secrets, and a rotation on the disk is
// taken over without any signal; who asked for relays is told each time, and what was
// handed out before still opens allocations.
func TestTURNReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if status, _, errOut := w.run(t.Context(), "secret\n", "user", "add", "anna"); status != 0 {
		t.Fatal(errOut)
	}
	cfg := w.config(t)
	cfg.TURN.Probe = config.Duration{} // the relay that is bought does not exist
	wanted, hup := make(chan config.Config, 1), make(chan os.Signal)
	startServer(t, cfg, reloads{hup, func() (config.Config, error) { return <-wanted, nil }}, io.Discard)
	anna := dialXMPP(t, cfg.XMPP.TLSPort, "meet.example", "anna", "secret")
	credentials := regexp.MustCompile(`type="turn" host="meet.example" port="\d+" transport="udp" username="([^"]*)" password="([^"]*)"`)
	relays := func(text string) credential.Credential {
		t.Helper()
		m := credentials.FindStringSubmatch(text)
		if m == nil {
			t.Fatal(text)
		}
		c := credential.Credential{Username: m[1], Password: m[2]}
		if err := allocate(t, strconv.Itoa(cfg.TURN.Port), c); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		return c
	}
	first := relays(anna.say(`<iq id="s" type="get" to="meet.example"><services xmlns="urn:xmpp:extdisco:2" type="turn"/></iq>`, "</iq>"))

	if status, _, errOut := w.run(t.Context(), "", "secret", "rotate", "turn"); status != 0 {
		t.Fatal(errOut)
	}
	got := anna.say("", "</iq>")
	second := relays(got)
	if !strings.Contains(got, `type="set"`) || strings.Count(got, `action="modify"`) != 2 || second.Password == first.Password {
		t.Errorf("after the rotation: %s", got)
	}
	if err := allocate(t, strconv.Itoa(cfg.TURN.Port), first); err != nil {
		t.Errorf("what was handed out before the rotation: %v", err)
	}

	next := cfg
	next.TURN.Servers = []config.TURNServer{{Type: config.OwnServer}, {Type: "turn", Host: "bought.example", Port: 3478, Username: "u", Password: "p"}}
	next.TURN.Access = []string{"meet.example"}
	wanted <- next
	hup <- syscall.SIGHUP
	if got := anna.say("", "</iq>"); strings.Count(got, "<service ") != 1 || !strings.Contains(got, `<service action="add" type="turn" host="bought.example" port="3478" transport="udp" username="u" password="p" restricted="1"/>`) {
		t.Errorf("another relay: %s", got)
	}
	next.TURN.Secrets = []config.Secret{"of-the-configuration"}
	wanted <- next
	hup <- syscall.SIGHUP
	third := relays(anna.say("", "</iq>"))
	var ring credential.Keyring
	ring.Set([]credential.Secret{{Value: "of-the-configuration"}}, nil)
	who, _ := ring.Lookup(third.Username, "r", time.Now())
	if credential.Key(third.Username, "r", third.Password) != [16]byte(who.Keys[0]) {
		t.Error("the secret of the configuration does not sign")
	}
	if err := allocate(t, strconv.Itoa(cfg.TURN.Port), second); err == nil {
		t.Error("turn.secrets is all that counts once it is set")
	}
	next.TURN.Access = []string{"guest.meet.example"}
	wanted <- next
	hup <- syscall.SIGHUP
	if got := anna.say("", "</iq>"); strings.Count(got, `action="delete"`) != 3 {
		t.Errorf("no longer told: %s", got)
	}
	if got := anna.say(`<iq id="s" type="get" to="meet.example"><services xmlns="urn:xmpp:extdisco:1"/></iq>`, "</iq>"); !strings.Contains(got, `<error type="auth"><forbidden`) {
		t.Error(got)
	}
}

// What stands in turn.servers is told with what it leaves out filled in; our own relay is
// told alone without them, beside them by type = "own", and never with turn.mode = "off".
func TestServersToldToClients(t *testing.T) {
	t.Parallel()
	list := func(text string) string {
		src := written(t, text)
		src.Environ = []string{"CONFAB_DOMAIN=meet.example"}
		cfg, _, err := config.Load(src)
		if err != nil {
			t.Fatal(err)
		}
		s := &server{cfg: cfg, listen: cfg.Web.Listen, local: planned{}}
		var out []string
		for _, e := range s.iceSettings(cfg).Servers {
			own := ""
			if e.Own {
				own = " own"
			}
			out = append(out, e.Type+" "+e.Host+" "+strconv.Itoa(e.Port)+" "+e.Transport+own)
		}
		return strings.Join(out, ", ") + "; " + strings.Join(sharedHosts(cfg), ", ")
	}
	const own = "stun meet.example 3478 udp own, turn meet.example 3478 udp own, turn meet.example 3478 tcp own, turns meet.example 443 tcp own"
	const relay = "[[turn.servers]]\ntype = 'turn'\nhost = 'relay.example'\n[[turn.servers]]\ntype = 'turns'\nhost = 'relay.example'\n"
	const there = "turn relay.example 3478 udp, turns relay.example 5349 tcp"
	for text, want := range map[string]string{
		"":                      own + "; ",
		"[turn]\nmode = 'stun'": "stun meet.example 3478 udp own; ",
		"[turn]\nmode = 'off'":  "; ",
		"[turn]\nudp = false":   "turn meet.example 3478 tcp own, turns meet.example 443 tcp own; ",
		"[tls]\nmode = 'off'":   "stun meet.example 3478 udp own, turn meet.example 3478 udp own, turn meet.example 3478 tcp own; ",
		relay:                   there + "; relay.example",
		"[[turn.servers]]\ntype = 'own'\n" + relay:                                                             own + ", " + there + "; relay.example",
		"[turn]\nmode = 'off'\n[[turn.servers]]\ntype = 'own'\n" + relay:                                       there + "; relay.example",
		"[[turn.servers]]\ntype = 'turn'\nhost = 'meet.example'\nport = 3480":                                  "turn meet.example 3480 udp own; ",
		"[turn]\nmode = 'off'\n[[turn.servers]]\ntype = 'turn'\nhost = 'meet.example'\nport = 3480":            "turn meet.example 3480 udp own; meet.example",
		"[[turn.servers]]\ntype = 'stun'\nhost = 's.example'":                                                  "stun s.example 3478 udp; ",
		"[[turn.servers]]\ntype = 'turn'\nhost = 'b.example'\nsecret = 'its-own-secret-of-16'":                 "turn b.example 3478 udp; ",
		"[[turn.servers]]\ntype = 'turn'\nhost = 'b.example'\ntransport='tcp'\nusername = 'u'\npassword = 'p'": "turn b.example 3478 tcp; ",
	} {
		if got := list(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}
