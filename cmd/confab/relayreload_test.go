package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
)

// relayConfig is that of a relay alone.
func (w *world) relayConfig(t *testing.T) config.Config {
	t.Helper()
	cfg := w.config(t)
	cfg.Node.Roles = []string{"turn"}
	cfg.TURN.Secrets = []config.Secret{"north-north-north-north"}
	cfg.TURN.TLS = false
	cfg.TURN.Peers.Allow = []string{"127.0.0.1"}
	return cfg
}

// SIGHUP, for a relay alone: quotas, peers and where the log goes, while what is allocated
// goes on.
func TestRelayReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.relayConfig(t)
	cfg.TURN.QuotaUser = 1
	wanted, hup := make(chan config.Config, 1), make(chan os.Signal)
	re := reloads{hup, func() (config.Config, error) { return <-wanted, nil }}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, ended, log := make(startedWriter, 1), make(chan error, 1), &lockedBuffer{line: make(chan struct{}, 1000)}
	go func() { ended <- serve(ctx, cfg, re, out, log) }()
	select {
	case <-out:
	case err := <-ended:
		t.Fatal(err)
	}
	port := strconv.Itoa(cfg.TURN.Port)
	c, err := credential.Secrets{"north-north-north-north"}.Mint(time.Now(), time.Hour, "k3v9")
	if err != nil {
		t.Fatal(err)
	}
	held, _ := open(t, port, c)
	if err := allocate(t, port, c); err == nil || !strings.Contains(err.Error(), "486") {
		t.Errorf("above the quota: %v", err)
	}

	next := cfg
	next.TURN.QuotaUser, next.TURN.MaxSession = 5, config.Duration{Duration: time.Minute}
	next.Log.Output, next.Log.File, next.Log.Format = "file", filepath.Join(t.TempDir(), "relay.log"), "text"
	next.TURN.Port++ // needs a restart
	wanted <- next
	hup <- syscall.SIGHUP
	until(t, "the lines in the file", func() bool {
		text, _ := os.ReadFile(next.Log.File)
		return strings.Contains(string(text), `changed keys need a restart" component=main keys=turn.port`) &&
			strings.Contains(string(text), `changed="turn.max_session, turn.quota_user, log.format, log.output, log.file"`)
	})
	if err := allocate(t, port, c); err != nil {
		t.Errorf("below the quota: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if strings.Contains(log.text.String(), "reloaded") {
		t.Errorf("stderr has\n%s", log.text.String())
	}
}

// A relay alone asks for certificates as well: TURN over TLS is on, and the authority finds
// the port where it asks back.
func TestRelayACME(t *testing.T) {
	t.Parallel()
	authority, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer authority.Close()
	port, overTLS, plain := freePort(t), freePort(t), freePort(t)
	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"CONFAB_NODE_ROLES=turn", "CONFAB_ACME=admin@meet.example", "CONFAB_TLS_ACME_DIRECTORY=https://" + authority.Addr().String() + "/directory",
		"CONFAB_DOMAIN=relay.meet.example", "CONFAB_DATA_DIR=" + t.TempDir(), "CONFAB_NETWORK_PUBLIC_ADDRESSES=127.0.0.1",
		"CONFAB_TURN_PORT=" + port, "CONFAB_TURN_TLS_PORT=" + overTLS, "CONFAB_WEB_HTTP_LISTEN=127.0.0.1:" + plain, "CONFAB_ADMIN_LISTEN=",
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, ended, log := make(startedWriter, 1), make(chan error, 1), &lockedBuffer{line: make(chan struct{}, 1000)}
	go func() { ended <- serve(ctx, cfg, reloads{}, out, log) }()
	select {
	case <-out:
	case err := <-ended:
		t.Fatal(err)
	}
	asked, err := authority.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = asked.Close() // not today
	for path, want := range map[string]int{"/.well-known/acme-challenge/token": http.StatusNotFound, "/": http.StatusNotFound} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+plain+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "relay.meet.example"
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	conn, err := tls.Dial("tcp", "127.0.0.1:"+overTLS, &tls.Config{ServerName: "relay.meet.example", InsecureSkipVerify: true, NextProtos: []string{"stun.turn"}})
	if err != nil {
		t.Fatal(err)
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != "stun.turn" {
		t.Errorf("TURN over TLS speaks %q", p)
	}
	_ = conn.Close()
	// RFC 8737: with this name alone it is the authority; there is no order under way.
	conn, err = tls.Dial("tcp", "127.0.0.1:"+overTLS, &tls.Config{ServerName: "relay.meet.example", InsecureSkipVerify: true, NextProtos: []string{alpnACME}})
	if err == nil {
		t.Error("the authority is shown a certificate that is none of an order")
		_ = conn.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
