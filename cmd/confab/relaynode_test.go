package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
)

// childEnv makes the test's program the server: a process of its own.
const childEnv = "CONFAB_TEST_CHILD"

// process is a server that was really started.
type process struct {
	cmd     *exec.Cmd
	summary string
	rest    chan string // what else it says, once it has ended
}

// startProcess starts this program as "confab serve" and returns when its summary is there.
func startProcess(t *testing.T, environ ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRelayProcess$"), rest: make(chan string, 1)}
	p.cmd.Env = append(append(os.Environ(), childEnv+"=1"), environ...)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for { // the summary is between two empty lines
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the server ended: %v\n%s", err, p.summary)
		}
		if line == "\n" && p.summary != "" {
			break
		}
		p.summary += strings.TrimLeft(line, "\n")
	}
	go func() {
		text, _ := io.ReadAll(lines)
		p.rest <- string(text)
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// stop ends it by a signal and fails unless it ends well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest := <-p.rest
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, rest)
	}
}

// allocate asks a relay on loopback for an allocation and gives it up again.
func allocate(t *testing.T, port string, c credential.Credential) error {
	t.Helper()
	client := clientAt(t, port, c)
	defer client.Close()
	relayed, err := client.Allocate()
	if err != nil {
		return err
	}
	return relayed.Close()
}

// open is an allocation that stays.
func open(t *testing.T, port string, c credential.Credential) (net.PacketConn, *turn.Client) {
	t.Helper()
	client := clientAt(t, port, c)
	relayed, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	return relayed, client
}

// clientAt is pion's over UDP.
func clientAt(t *testing.T, port string, c credential.Credential) *turn.Client {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: "127.0.0.1:" + port, STUNServerAddr: "127.0.0.1:" + port,
		Conn: conn, Username: c.Username, Password: c.Password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); conn.Close() })
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	return client
}

// TestRelayProcess: a process with nothing but the secret, in a file, relays for who has
// credentials of it and for long-term users; it has health, metrics and no other port.
func TestRelayProcess(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		os.Args = []string{"confab", "serve"}
		main()
	}
	t.Parallel()
	const secret = "north-north-north-north"
	w := newWorld(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "secrets")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port, https := freePort(t), freePort(t)
	p := startProcess(t, "CONFAB_NODE_ROLES=turn", "CONFAB_TURN_SECRETS_FILE="+file, "CONFAB_DATA_DIR="+w.dir, "CONFAB_DOMAIN=meet.example",
		"CONFAB_NETWORK_PUBLIC_ADDRESSES=127.0.0.1", "CONFAB_TURN_PORT="+port, "CONFAB_TURN_PEERS_ALLOW=127.0.0.1",
		"CONFAB_ADMIN_LISTEN=127.0.0.1:0", "CONFAB_ADMIN_API_KEYS=the-key-of-the-test", "CONFAB_LOG_LEVEL=error", "CONFAB_WEB_LISTEN=127.0.0.1:"+https, "CONFAB_XMPP_PORT="+https, "CONFAB_BRIDGE_UDP_PORT="+https)
	if !strings.Contains(p.summary, "Confab relays") || !strings.Contains(p.summary, "UDP and TCP "+port+" on 127.0.0.1\n") || strings.Contains(p.summary, "Password") {
		t.Fatal(p.summary)
	}
	mint := func(secret string, ttl time.Duration) credential.Credential {
		c, err := credential.Secrets{secret}.Mint(time.Now(), ttl, "k3v9")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := allocate(t, port, mint(secret, time.Hour)); err != nil {
		t.Errorf("a credential of the secret: %v", err)
	}
	for what, c := range map[string]credential.Credential{"of another secret": mint("south", time.Hour), "expired": mint(secret, -time.Minute), "of nobody": {Username: "anna", Password: "secret 1"}} {
		if err := allocate(t, port, c); err == nil {
			t.Errorf("a credential %s is accepted", what)
		}
	}

	metrics := regexp.MustCompile(`http://\S+`).FindString(p.summary)
	fetch := func(url string) string {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(resp.StatusCode, " ", string(text))
	}
	if got := fetch(metrics); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "confab_turn_") || strings.Contains(got, "confab_rooms") {
		t.Error(got)
	}
	if got := fetch(strings.TrimSuffix(metrics, "/metrics") + "/readyz"); !strings.HasPrefix(got, `200 {"healthy":true`) {
		t.Error(got)
	}
	_, held := open(t, port, mint(secret, time.Hour))
	operate := func(method, path string) string {
		r, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(metrics, "/metrics")+"/_/api/v1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer the-key-of-the-test")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(text))
	}
	var number []string
	one := regexp.MustCompile(`^200 \{"allocations":\[\{"number":(\d+),"id":"k3v9","transport":"udp",[^{}]*\}\],"more":false\}`)
	until(t, "the one allocation there is, in the list", func() bool {
		number = one.FindStringSubmatch(operate("GET", "/turn/allocations"))
		return number != nil
	})
	if got := operate("DELETE", "/turn/allocations/"+number[1]); got != "204 " {
		t.Error(got)
	}
	if got := operate("GET", "/turn/allocations"); !strings.HasPrefix(got, `200 {"allocations":[],`) {
		t.Error(got)
	}
	if got := operate("GET", "/rooms"); !strings.HasPrefix(got, "404 ") {
		t.Error(got)
	}
	held.Close()
	for _, network := range []string{"tcp", "udp"} {
		if err := tryBind(network, "127.0.0.1:"+https); err != nil {
			t.Errorf("a relay alone holds %s %s: %v", network, https, err)
		}
	}

	// A long-term user counts without a restart, and so does a rotated secret.
	if status, _, errOut := w.run(t.Context(), "secret 1\n", "turn", "user", "add", "anna"); status != 0 {
		t.Fatal(errOut)
	}
	if err := os.WriteFile(file, []byte("new-new-new-new-new-new,"+secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for _, c := range []credential.Credential{{Username: "anna", Password: "secret 1"}, mint("new-new-new-new-new-new", time.Hour)} {
		until(t, "a credential that came while it runs", func() bool { return allocate(t, port, c) == nil })
	}
	if err := allocate(t, port, mint(secret, time.Hour)); err != nil {
		t.Errorf("the second secret: %v", err)
	}

	// coturn's own client: -W signs with the secret itself; and a user with -w.
	var clients sync.WaitGroup
	for _, args := range [][]string{{"-W", secret, "-u", "lt"}, {"-W", "new-new-new-new-new-new", "-u", "lt"}, {"-u", "anna", "-w", "secret 1"}} {
		clients.Go(func() { uclient(t, append(args, "-y", "-p", port, "127.0.0.1")...) })
	}
	clients.Wait()
	p.stop(t)
}

// uclient has coturn's client send 20 messages between each two of its allocations, where
// it is installed.
func uclient(t *testing.T, args ...string) {
	t.Helper()
	client, err := exec.LookPath("turnutils_uclient")
	if err != nil {
		t.Log("not tried: ", err)
		return
	}
	args = append([]string{"-c", "-n", "20", "-m", "2", "-z", "5"}, args...)
	out, err := exec.CommandContext(t.Context(), client, args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "tot_recv_msgs=40") {
		t.Errorf("turnutils_uclient %s: %v\n%s", args, err, out)
	}
}

// until asks again and again; the test's own deadline ends it.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal(what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestRelayDrains: after the first signal health says so and nobody gets an allocation, but
// the one that is there goes on; with its end the relay ends.
func TestRelayDrains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config(t)
	cfg.Node.Roles, cfg.Node.DrainTimeout = []string{"turn"}, config.Duration{Duration: time.Hour}
	cfg.TURN.Secrets = []config.Secret{"north-north-north-north"}
	cfg.TURN.TLS = false
	cfg.TURN.Peers.Allow = []string{"127.0.0.1"}
	cfg.Admin.Listen = "127.0.0.1:" + freePort(t)
	log := &lockedBuffer{line: make(chan struct{}, 1000)}
	_, stop := startServer(t, cfg, reloads{}, log)
	ready := func() int {
		resp, err := http.Get("http://" + cfg.Admin.Listen + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	port := strconv.Itoa(cfg.TURN.Port)
	c, err := credential.Secrets{"north-north-north-north"}.Mint(time.Now(), time.Hour, "k3v9")
	if err != nil {
		t.Fatal(err)
	}
	held, client := open(t, port, c)
	if got := ready(); got != http.StatusOK {
		t.Errorf("before: %d", got)
	}
	stop()
	log.wait(t, "waiting for allocations to end")
	if got := ready(); got != http.StatusServiceUnavailable {
		t.Errorf("meanwhile: %d", got)
	}
	if err := allocate(t, port, c); err == nil {
		t.Error("it takes another allocation")
	}
	if err := client.CreatePermission(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4000}); err != nil {
		t.Errorf("what is there goes on: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRolesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for environ, want := range map[string]string{
		"CONFAB_NODE_ROLES=bridge":        "CONFAB_NODE_ROLES: node.roles: signalling and bridge belong together",
		"CONFAB_NODE_ROLES=turn,bridge":   "CONFAB_NODE_ROLES: node.roles: signalling and bridge belong together",
		"CONFAB_NODE_ROLES=tuna":          `CONFAB_NODE_ROLES: node.roles: "tuna" is none of signalling, bridge, turn`,
		"CONFAB_NODE_ROLES=":              "CONFAB_NODE_ROLES: node.roles: is empty",
		"CONFAB_NODE_ROLES=turn MODE=off": "CONFAB_TURN_MODE: turn.mode: is off, and node.roles has nothing else",
	} {
		list := []string{strings.Fields(environ)[0]}
		if strings.HasSuffix(environ, " MODE=off") {
			list = append(list, "CONFAB_TURN_MODE=off")
		}
		if _, _, err := config.Load(config.Sources{Environ: list}); err == nil || err.Error() != want {
			t.Errorf("%s: %v", environ, err)
		}
	}
	cfg, _, err := config.Load(config.Sources{Environ: []string{"CONFAB_NODE_ROLES=signalling,bridge"}})
	if err != nil || cfg.TURN.Mode != "off" || cfg.RelayOnly() {
		t.Errorf("%v %v", cfg.TURN.Mode, err)
	}
}
