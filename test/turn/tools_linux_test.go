package turn

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTools runs coturn's tools against one server, in every way that they know.
func TestTools(t *testing.T) {
	if unavailable != nil {
		t.Skip(unavailable)
	}
	startServer(t)
	background(t, "turnutils_peer", "-L", peer4, "-p", "3480")
	background(t, "turnutils_peer", "-L", peer6, "-p", "3480")
	t.Run("relaying", relaying)
	t.Run("refusals", refusals)
	t.Run("alternates", alternates)
	t.Run("discovery", discovery)
	t.Run("load", load)
}

// Of each case, n messages are sent by each of m clients, and all come back: from
// turnutils_peer, which returns what it gets, or from the next client's own relayed
// address (-y).
const (
	clients  = 2
	messages = 20
)

// Allocations of both families (-Z) the tool asks for with the number that drafts before
// RFC 8656 had for ADDITIONAL-ADDRESS-FAMILY.
func relaying(t *testing.T) {
	v6 := []string{"-x", "-L", client6}
	v6 = v6[:len(v6):len(v6)]
	for name, args := range map[string][]string{
		"udp":                           {"-e", peer4, "-c"},
		"udp, indications":              {"-e", peer4, "-c", "-s"},
		"udp, relay to relay":           {"-y", "-c"},
		"udp, relay to relay by send":   {"-y", "-c", "-s"},
		"udp, padded channel data":      {"-e", peer4, "-c", "-D"},
		"udp, pairs of ports":           {"-e", peer4},
		"udp, pairs of ports by send":   {"-e", peer4, "-s"},
		"udp, pairs of relays":          {"-y"},
		"udp, DONT-FRAGMENT":            {"-e", peer4, "-c", "-g"},
		"udp, DONT-FRAGMENT by send":    {"-e", peer4, "-c", "-g", "-s"},
		"udp, extra requests":           {"-e", peer4, "-c", "-G"},
		"udp, mobility":                 {"-e", peer4, "-c", "-M"},
		"udp, mobility, relay to relay": {"-y", "-c", "-M"},
		"udp, mobility by send":         {"-e", peer4, "-c", "-M", "-s"},
		"udp, IPv4 by name":             {"-e", peer4, "-c", "-X"},
		"udp, both families":            {"-e", peer4, "-c", "-Z"},
		"udp, both families, mobility":  {"-e", peer4, "-c", "-Z", "-M"},
		"tcp, both families":            {"-t", "-e", peer4, "-c", "-Z"},
		"udp, long messages":            {"-e", peer4, "-c", "-l", "1300"},
		"tcp":                           {"-t", "-e", peer4, "-c"},
		"tcp, indications":              {"-t", "-e", peer4, "-c", "-s"},
		"tcp, relay to relay":           {"-t", "-y", "-c"},
		"tcp, pairs of ports":           {"-t", "-e", peer4},
		"tcp, mobility":                 {"-t", "-e", peer4, "-c", "-M"},
		"tcp, odd messages":             {"-t", "-e", peer4, "-c", "-l", "101"},
		"tls":                           {"-t", "-S", "-p", tlsPort, "-e", peer4, "-c"},
		"tls, indications":              {"-t", "-S", "-p", tlsPort, "-e", peer4, "-c", "-s"},
		"tls, relay to relay":           {"-t", "-S", "-p", tlsPort, "-y", "-c"},
		"tls on the port of HTTPS":      {"-t", "-S", "-p", httpsPort, "-e", peer4, "-c"},
		"dtls":                          {"-S", "-p", tlsPort, "-e", peer4, "-c"},
		"dtls, indications":             {"-S", "-p", tlsPort, "-e", peer4, "-c", "-s"},
		"dtls, relay to relay":          {"-S", "-p", tlsPort, "-y", "-c"},
		"IPv6":                          append(v6, "-e", peer6, "-c"),
		"IPv6, indications":             append(v6, "-e", peer6, "-c", "-s"),
		"IPv6, relay to relay":          append(v6, "-y", "-c"),
		"IPv6, pairs of ports":          append(v6, "-e", peer6),
		"IPv6, tcp":                     append(v6, "-t", "-e", peer6, "-c"),
		"IPv6, tls":                     append(v6, "-t", "-S", "-p", tlsPort, "-e", peer6, "-c"),
		"IPv6 client, IPv4 relay":       {"-L", client6, "-X", "-e", peer4, "-c"},
		"IPv4 client, IPv6 relay":       {"-L", client4, "-x", "-e", peer6, "-c"},
	} {
		to := server4
		switch {
		case slices.Contains(args, client6):
			to = server6
		case !slices.Contains(args, client4):
			args = append([]string{"-L", client4}, args...)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each := []string{"-W", secret, "-u", "tools", "-m", strconv.Itoa(clients), "-n", strconv.Itoa(messages)}
			args = append(each, args...)
			out := tool(t, "turnutils_uclient", append(args, to)...)
			sent, received, lost := last(t, out, `tot_send_msgs=(\d+)`), last(t, out, `tot_recv_msgs=(\d+)`), last(t, out, `Total lost packets (\d+)`)
			if sent < clients*messages || received != sent || lost != 0 || last(t, out, `total send dropped (\d+)`) != 0 {
				t.Errorf("%d sent, %d received, %d lost: turnutils_uclient %s\n%s", sent, received, lost, strings.Join(args, " "), out)
			}
		})
	}
	// Now and then a message is spoiled in a few bytes (-R). The tool may wait for ever
	// for the answer to one, so it gets some time; the server must go on.
	t.Run("garbage between", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, program(t, "turnutils_uclient"), "-W", secret, "-u", "tools", "-m", "5", "-n", "50", "-R", "-L", client4, "-e", peer4, "-c", server4)
		out, _ := cmd.CombinedOutput()
		if !strings.Contains(string(out), "start_mclient") && !strings.Contains(string(out), "error") && ctx.Err() == nil {
			t.Errorf("it has not come as far as to relay or to be refused:\n%s", out)
		}
		out2 := tool(t, "turnutils_uclient", "-W", secret, "-u", "tools", "-n", "5", "-L", client4, "-e", peer4, "-c", server4)
		if sent, received := last(t, out2, `tot_send_msgs=(\d+)`), last(t, out2, `tot_recv_msgs=(\d+)`); sent < 5 || received != sent {
			t.Errorf("afterwards %d sent, %d received\n%s", sent, received, out2)
		}
	})
}

// last is the number that a tool has printed last for something.
func last(t *testing.T, out, pattern string) int {
	t.Helper()
	all := regexp.MustCompile(pattern).FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		t.Fatalf("nothing like %q in\n%s", pattern, out)
	}
	n, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// refusals are what the tool must be refused: it says what it was answered.
func refusals(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"wrong channel numbers":       {[]string{"-W", secret, "-e", peer4, "-c", "-N"}, "channel bind: error 400 (Bad Request)"},
		"loopback as a peer":          {[]string{"-W", secret, "-e", "127.0.0.1", "-c"}, "channel bind: error 403 (Forbidden)"},
		"loopback as a peer, by send": {[]string{"-W", secret, "-e", "127.0.0.1", "-c", "-s"}, "create permission error 403 (Forbidden)"},
		"mapped loopback as a peer":   {[]string{"-W", secret, "-e", "::ffff:127.0.0.1", "-c", "-s"}, "create permission error 443 (Peer Address Family Mismatch)"},
		"unspecified as a peer":       {[]string{"-W", secret, "-e", "0.0.0.0", "-c"}, "channel bind: error 403 (Forbidden)"},
		"a strange network":           {[]string{"-W", secret, "-e", "192.0.2.1", "-c"}, "channel bind: error 403 (Forbidden)"},
		"relays of TCP":               {[]string{"-W", secret, "-T"}, "error 442 (Unsupported Transport Protocol)"},
		"another secret":              {[]string{"-W", strings.Repeat("x", 32), "-e", peer4, "-c"}, "Cannot complete Allocation"},
		"an unknown user":             {[]string{"-w", "password", "-e", peer4, "-c"}, "Cannot complete Allocation"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := try(t, "turnutils_uclient", append(append([]string{"-u", "tools", "-n", "1", "-L", client4}, c.args...), server4)...)
			if !strings.Contains(out, c.says) || strings.Contains(out, "tot_recv_msgs=1") {
				t.Errorf("%v, %q expected in\n%s", err, c.says, out)
			}
		})
	}
	// Without a permission nothing passes (-I makes none).
	t.Run("no permission", func(t *testing.T) {
		t.Parallel()
		out, _ := try(t, "turnutils_uclient", "-W", secret, "-u", "tools", "-n", "3", "-L", client4, "-e", peer4, "-c", "-s", "-I", server4)
		if sent, received := last(t, out, `tot_send_msgs=(\d+)`), last(t, out, `tot_recv_msgs=(\d+)`); sent != 3 || received != 0 {
			t.Errorf("%d sent, %d received\n%s", sent, received, out)
		}
	})
}

// discovery is RFC 5780 with two addresses.
func discovery(t *testing.T) {
	t.Run("stunclient", func(t *testing.T) {
		t.Parallel()
		out := tool(t, "turnutils_stunclient", "-f", server4)
		says(t, out, "RFC 5780 response 3", "Other addr: : "+other4+":3479", "Response origin: : "+server4+":3478",
			"Response origin: : "+other4+":3479", "UDP reflexive addr: "+server4+":")
	})
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"mapping and filtering": {[]string{"-m", "-f"}, []string{"NAT with Endpoint Independent Mapping!", "NAT with Endpoint Independent Filtering!",
			"Response origin: : " + other4 + ":3478", "Response origin: : " + other4 + ":3479", "UDP reflexive addr: " + client4 + ":"}},
		"with padding": {[]string{"-m", "-f", "-P"}, []string{"NAT with Endpoint Independent Mapping!", "NAT with Endpoint Independent Filtering!"}},
		"hairpinning":  {[]string{"-H"}, []string{"maybe a successful hairpinning"}},
		"collision":    {[]string{"-c", "-A", other}, []string{"UDP reflexive addr: " + client4 + ":", "UDP reflexive addr: " + other + ":"}},
		"lifetime":     {[]string{"-t", "-T", "1"}, []string{"RFC 5780 response 2", "UDP reflexive addr: " + client4 + ":"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// It sends each request once, against RFC 8489 §6.2.1, and dozens of others keep
			// the machine busy: a datagram of its may be lost.
			out := ""
			for range 3 {
				if out = tool(t, "turnutils_natdiscovery", append(c.args, "-L", client4, server4)...); !strings.Contains(out, "receive timeout") {
					break
				}
			}
			says(t, out, c.says...)
		})
	}
}

func says(t *testing.T, out string, what ...string) {
	t.Helper()
	for _, w := range what {
		if !strings.Contains(out, w) {
			t.Errorf("%q expected in\n%s", w, out)
		}
	}
}

// load is our own generator, by every transport: what it measures is worth something
// only if it gets every packet through that it should.
func load(t *testing.T) {
	bench := filepath.Join(t.TempDir(), "confab-bench")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bench, "confab/cmd/confab-bench").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for name, args := range map[string][]string{
		"channels":    {"-turn", server4 + ":3478"},
		"indications": {"-turn", server4 + ":3478", "-send"},
		"paced runs":  {"-turn", server4 + ":3478", "-slot", "50ms", "-segment"},
		"tcp":         {"-turn", server4 + ":3478", "-transport", "tcp"},
		"tls":         {"-turn", server4 + ":" + tlsPort, "-transport", "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args = append([]string{"turn", "-secret", secret, "-network", outside4, "-pid", strconv.Itoa(os.Getpid()), "-json",
				"-allocations", "3", "-size", "400", "-rate", "200", "-seconds", "1"}, args...)
			out, err := exec.CommandContext(t.Context(), bench, args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var figures map[string]any
			if err := json.Unmarshal(out, &figures); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if figures["confab: lost of 100"] != 0.0 || figures["confab: packets/s"] == 0.0 {
				t.Errorf("%v", figures)
			}
		})
	}
}
