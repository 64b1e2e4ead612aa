package meettest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
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

	"confab/internal/freeport"
)

// bootPatience bounds the start of a server; programs built for the race
// detector on a busy machine take their time.
const bootPatience = 2 * time.Minute

// program is the binary that StartServer runs.
var program struct {
	once sync.Once
	path string
	err  error
}

// Main is for the TestMain of packages that start servers: it runs the tests and
// removes the program that StartServer has built for them.
func Main(m *testing.M) int {
	code := m.Run()
	if program.path != "" && os.Getenv("CONFAB_BIN") == "" {
		_ = os.RemoveAll(filepath.Dir(program.path))
	}
	return code
}

// Program is the path of the program: $CONFAB_BIN, or built from this tree once
// per test process, with the race detector if the tests have it.
func Program() (string, error) {
	program.once.Do(func() {
		if program.path = os.Getenv("CONFAB_BIN"); program.path != "" {
			return
		}
		dir, err := os.MkdirTemp("", "confab-test-")
		if err != nil {
			program.err = err
			return
		}
		program.path = filepath.Join(dir, "confab")
		args := []string{"build", "-o", program.path}
		if raceEnabled {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, "confab/cmd/confab")...).CombinedOutput(); err != nil {
			program.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	return program.path, program.err
}

// ServerOptions change how a server is started.
type ServerOptions struct {
	Config string // TOML, before what the harness sets: single keys first, then tables
	Dir    string // data directory; a new one if empty
	Like   *Server
}

// Server is a running confab.
type Server struct {
	Domain       string
	URL          string // https://127.0.0.1:port
	Dir          string
	HTTPS        int // ports
	Media, TURN  int
	XMPP         int
	HostLogin    string // localpart of the account that the first start printed, or ""
	HostPassword string
	PID          int

	t    testing.TB
	conf string // the configuration file
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when the process is gone
	err  error
}

// StartServer starts the program on free loopback ports with an empty data
// directory and waits until it is ready. The test's end ends it; a failed test
// shows its log.
func StartServer(t testing.TB, opt ServerOptions) *Server {
	t.Helper()
	bin, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, Domain: "meet.test", Dir: opt.Dir, done: make(chan struct{})}
	if opt.Like != nil { // the same place after a crash
		s.HTTPS, s.Media, s.TURN, s.XMPP, s.Dir = opt.Like.HTTPS, opt.Like.Media, opt.Like.TURN, opt.Like.XMPP, opt.Like.Dir
		s.HostLogin, s.HostPassword = opt.Like.HostLogin, opt.Like.HostPassword
	} else {
		s.HTTPS, s.Media, s.TURN, s.XMPP = freeport.Pair(t), freeport.Pair(t), freeport.Pair(t), freeport.Pair(t)
	}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	s.URL = fmt.Sprintf("https://127.0.0.1:%d", s.HTTPS)
	s.conf = filepath.Join(t.TempDir(), "confab.toml")
	if err := os.WriteFile(s.conf, []byte(opt.Config+testConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(bin, "serve", "--config", s.conf, "--data", s.Dir, "--domain", s.Domain,
		"--https", fmt.Sprintf("127.0.0.1:%d", s.HTTPS), "--media-port", fmt.Sprint(s.Media),
		"--turn-port", fmt.Sprint(s.TURN), "--xmpp-port", fmt.Sprint(s.XMPP))
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CONFAB_") })
	s.cmd.Env = append(env, "GORACE=halt_on_error=0 exitcode=66")
	s.cmd.SysProcAttr = noOrphan
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.PID = s.cmd.Process.Pid
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(s.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), bootPatience)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		t.Fatalf("server: %v\n%s", err, s.out.String())
	}
	return s
}

// APIKey is in the configuration of every server that StartServer starts.
const APIKey = "a-key-for-tests-only"

// testConfig keeps a server on loopback and without limits on one address, from
// which all clients of a test come.
const testConfig = `[network]
public_addresses = ["127.0.0.1"]
ipv6 = false
[web]
http_listen = ""
[admin]
listen = "127.0.0.1:0"
api_keys = ["` + APIKey + `"]
[limits]
login_rate = 0
presence_rate = 0
iq_rate = 0
message_rate = 0
command_rate = 0
connections_per_ip = 0
requests_per_ip = 0
[log]
level = "debug"
format = "text"
`

// HTTP is a client that takes the server's certificate, and keeps no connections.
func (s *Server) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // test server
	}}
}

// ready waits for /about/health to answer 200 and for the login.
func (s *Server) ready(ctx context.Context) error {
	client := s.HTTP()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/about/health", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK && s.readLogin() {
				return nil
			}
			err = errors.New(resp.Status)
		}
		last = err
		select {
		case <-tick.C:
		case <-s.done:
			return fmt.Errorf("ended at start: %w", s.err)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", last)
		}
	}
}

// readLogin takes the host's login from what the first start prints.
func (s *Server) readLogin() (ok bool) {
	sc := bufio.NewScanner(strings.NewReader(s.out.String()))
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 2 {
			continue
		}
		last := fields[len(fields)-1]
		switch {
		case strings.HasPrefix(sc.Text(), "  Host (administrator) login"):
			s.HostLogin, _, _ = strings.Cut(last, "@")
		case strings.HasPrefix(sc.Text(), "  Password (shown once)"):
			s.HostPassword = last
		}
	}
	return s.HostLogin != "" && s.HostPassword != ""
}

// Stop ends the server as an operator does and waits.
func (s *Server) Stop() {
	select {
	case <-s.done:
	default:
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(bootPatience, func() { _ = s.cmd.Process.Kill() })
		<-s.done
		if !kill.Stop() {
			s.t.Errorf("server: did not end on SIGTERM within %v", bootPatience)
		}
	}
	if s.cmd.ProcessState.ExitCode() == 66 || strings.Contains(s.out.String(), "panic:") {
		s.t.Errorf("server: data race or panic\n%s", s.out.String())
	} else if s.t.Failed() {
		lines := strings.Split(s.out.String(), "\n")
		s.t.Logf("end of the server log:\n%s", strings.Join(lines[max(0, len(lines)-150):], "\n"))
	}
}

// Done is closed when the process is gone.
func (s *Server) Done() <-chan struct{} { return s.done }

// Kill is kill -9, and waits.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Reload changes the configuration and waits until the server has taken it over.
func (s *Server) Reload(ctx context.Context, config string) error {
	const done = "configuration reloaded"
	before := strings.Count(s.Log(), done)
	if err := os.WriteFile(s.conf, []byte(config+testConfig), 0o600); err != nil {
		return err
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for strings.Count(s.Log(), done) == before {
		select {
		case <-tick.C:
		case <-s.done:
			return fmt.Errorf("ended at a reload: %w", s.err)
		case <-ctx.Done():
			return fmt.Errorf("reload: %w", ctx.Err())
		}
	}
	return nil
}

// Log is what the server has written.
func (s *Server) Log() string { return s.out.String() }

// Options are those of a client of this server.
func (s *Server) Options(name string) Options {
	return Options{URL: "wss" + strings.TrimPrefix(s.URL, "https") + "/xmpp-websocket", Domain: s.Domain, Name: name}
}

// Dial connects a client; change may be nil. The test's end kills it.
func (s *Server) Dial(ctx context.Context, name string, change func(*Options)) *Client {
	s.t.Helper()
	opt := s.Options(name)
	if change != nil {
		change(&opt)
	}
	c, err := Dial(ctx, opt)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	s.t.Cleanup(func() {
		var f *Fault
		if errors.As(c.Err(), &f) {
			s.t.Errorf("%s: %v", name, f)
		}
		c.Kill()
	})
	return c
}

// Join is Dial and Join with a camera.
func (s *Server) Join(ctx context.Context, name, room string, change func(*Options)) *Client {
	s.t.Helper()
	c := s.Dial(ctx, name, func(o *Options) {
		o.Room, o.Media = room, Camera()
		if change != nil {
			change(o)
		}
	})
	if err := c.Join(ctx, room); err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return c
}

// output collects what the server writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b.Len() > 4<<20 { // keep the end
		tail := append([]byte(nil), o.b.Bytes()[o.b.Len()-1<<20:]...)
		o.b.Reset()
		o.b.Write(tail)
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
