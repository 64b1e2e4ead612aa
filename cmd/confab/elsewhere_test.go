package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

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
	cfg.Admin.APIKeys = []Secret{"a-key-of-16-bytes"}
	cfg.TURN.Mode, cfg.TURN.Secrets, cfg.TURN.Probe = "off", []Secret{secret}, Duration{100 * time.Millisecond}
	n, _ := strconv.Atoi(port)
	cfg.TURN.Servers = []TURNServer{{Type: "turn", Host: "127.0.0.1", Port: n}}
	end := coturn(t, port, secret)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, ended := make(startedWriter, 1), make(chan error, 1)
	go func() { ended <- serve(ctx, cfg, reloads{}, out, io.Discard) }()
	select {
	case <-out:
	case err := <-ended:
		t.Fatal(err)
	}

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

	anna := dialXMPP(t, cfg.XMPP.TLSPort, "meet.example", "anna", "secret")
	if got := anna.say(`<iq id="s" type="get" to="meet.example"><services xmlns="urn:xmpp:extdisco:2" type="turn"/></iq>`, "</iq>"); !strings.Contains(got, `type="result"`) || !strings.Contains(got, `port="`+port+`" transport="udp"`) {
		t.Error(got)
	}
	end()
	got := anna.say("", "</iq>")
	if !strings.Contains(got, `type="set"`) || !strings.Contains(got, `<service action="delete" type="turn" host="127.0.0.1" port="`+port+`" transport="udp"/>`) {
		t.Error(got)
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
	client.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
