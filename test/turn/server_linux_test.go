package turn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"confab/internal/meettest"
)

const (
	secret             = "0123456789abcdef0123456789abcdef"
	httpsPort, tlsPort = "8443", "5349"
	// patience bounds everything; a busy machine may be thirty times slower.
	patience = 3 * time.Minute
)

const config = `[network]
public_addresses = ["` + server4 + `", "` + other4 + `", "` + server6 + `"]
bind = ["` + server4 + `", "` + other4 + `", "` + server6 + `"]
[web]
http_listen = ""
[admin]
listen = "127.0.0.1:0"
[limits]
connections_per_ip = 0
requests_per_ip = 0
[turn]
secrets = ["` + secret + `"]
port = 3478
tls_port = ` + tlsPort + `
dtls = true
rfc5780 = true
quota_user = 1000
quota_address = 1000
[turn.peers]
allow = ["` + outside4 + `", "` + outside6 + `"]
[log]
level = "debug"
format = "text"
`

// startServer starts the program and waits until it is ready; the test's end ends it.
func startServer(t *testing.T) {
	t.Helper()
	bin, err := meettest.Program()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "confab.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", "--config", file, "--data", t.TempDir(), "--domain", "meet.test",
		"--https", server4+":"+httpsPort, "--media-port", "10000", "--xmpp-port", "5222")
	log := new(output)
	cmd.Stdout, cmd.Stderr = log, log
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CONFAB_") })
	cmd.Env = append(env, "GORACE=halt_on_error=0 exitcode=66")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		<-done
		kill.Stop()
		if cmd.ProcessState.ExitCode() != 0 || strings.Contains(log.String(), "panic:") {
			t.Errorf("the server ended with %v", cmd.ProcessState)
		}
		if t.Failed() {
			const race = "WARNING: DATA RACE"
			if at := strings.Index(log.String(), race); at >= 0 {
				t.Logf("the first of %d:\n%.6000s", strings.Count(log.String(), race), log.String()[at:])
			}
			lines := strings.Split(log.String(), "\n")
			t.Logf("end of the server log:\n%s", strings.Join(lines[max(0, len(lines)-150):], "\n"))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := healthy(ctx, done); err != nil {
		t.Fatalf("server: %v\n%s", err, log)
	}
}

// healthy waits for /about/health.
func healthy(ctx context.Context, done <-chan struct{}) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // test server
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+server4+":"+httpsPort+"/about/health", nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		select {
		case <-tick.C:
		case <-done:
			return errors.New("ended at start")
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		}
	}
}

// tool runs one of coturn's programs to its end and returns what it has printed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(t, name, args...)
	if err != nil {
		t.Errorf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return out
}

// try is tool where the program may fail.
func try(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, name), args...)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s %s does not end:\n%s", name, strings.Join(args, " "), out)
	}
	return string(out), err
}

// program finds a tool.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: it comes with the package coturn (make test-deps)", err)
	}
	return path
}

// background runs one of coturn's programs until the test's end.
func background(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(program(t, name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// output collects what a program writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
