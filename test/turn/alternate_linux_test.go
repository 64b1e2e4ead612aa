package turn

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"confab/internal/meettest"
)

const alternatePort = "3490"

// alternate starts a relay alone that sends all clients on to the server.
func alternate(t *testing.T) {
	t.Helper()
	bin, err := meettest.Program()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "confab.toml")
	if err := os.WriteFile(file, []byte(`domain = "meet.test"
[node]
roles = ["turn"]
[network]
public_addresses = ["`+server4+`"]
bind = ["`+server4+`"]
[admin]
listen = ""
[turn]
secrets = ["`+secret+`"]
port = `+alternatePort+`
alternate = "always"
alternate_servers = ["`+server4+`:3478"]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", "--config", file, "--data", t.TempDir())
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CONFAB_") })
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	drained := make(chan struct{})
	go func() { // the summary is the first that it says, once its sockets are open
		defer close(drained)
		b := make([]byte, 1)
		if n, _ := out.Read(b); n > 0 {
			close(began)
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-began:
	case <-drained:
		t.Fatal("the relay has ended")
	case <-time.After(patience):
		t.Fatal("the relay does not begin")
	}
}

// alternates: coturn's client follows a 300 to the server and relays there.
func alternates(t *testing.T) {
	alternate(t)
	for name, args := range map[string][]string{"udp": nil, "tcp": {"-t"}} {
		t.Run(name, func(t *testing.T) {
			args := append(args, "-W", secret, "-u", "tools", "-n", "10", "-p", alternatePort, "-L", client4, "-e", peer4, "-c", server4)
			out := tool(t, "turnutils_uclient", args...)
			sent, received := last(t, out, `tot_send_msgs=(\d+)`), last(t, out, `tot_recv_msgs=(\d+)`)
			if !strings.Contains(out, "error 300 (Try Alternate)") || sent < 10 || received != sent {
				t.Errorf("%d sent, %d received\n%s", sent, received, out)
			}
		})
	}
}
