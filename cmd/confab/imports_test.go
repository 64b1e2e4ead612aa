package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// mayImport is the table of docs/architecture.md: which of our packages a package
// may import, by path below the module. A pattern that ends in /... stands for
// the packages below. The longest pattern that fits counts; tests are free.
var mayImport = map[string][]string{
	"xmpp":                {},
	"xmpp/scram":          {},
	"xmpp/auth":           {"xmpp", "xmpp/scram"},
	"xmpp/xep/...":        {"xmpp", "xmpp/xep/..."},
	"muc":                 {"xmpp", "internal/mailbox"},
	"muc/...":             {"xmpp", "muc"},
	"muc/reservations":    {"xmpp", "muc", "internal/guard"},
	"muc/services":        {"xmpp", "muc", "muc/policy"},
	"focus":               {"xmpp", "xmpp/xep/...", "internal/mailbox", "focus/..."},
	"focus/...":           {"xmpp", "xmpp/xep/..."},
	"bridge":              {"xmpp", "xmpp/xep/...", "internal/mailbox", "bridge/..."},
	"bridge/...":          {"bridge/rtpx"}, // the packet path knows no XMPP
	"bridge/rtpx":         {},
	"bridge/srtp":         {},
	"bridge/transport":    {"bridge/rtpx", "bridge/srtp", "internal/cleartext", "internal/datagram"},
	"bridge/forward":      {"bridge/rtpx", "bridge/bwe"},
	"bridge/channel":      {"bridge/alloc"},
	"bridge/export":       {"bridge/forward", "bridge/rtpx"},
	"extdisco":            {"xmpp", "extdisco/credential", "extdisco/probe", "internal/guard"},
	"extdisco/stun":       {},
	"extdisco/relay":      {"extdisco/credential", "extdisco/stun", "internal/cleartext", "internal/datagram"},
	"extdisco/probe":      {"extdisco/credential", "extdisco/stun"},
	"extdisco/token":      {},
	"extdisco/credential": {},
	"storage":             {},
	"storage/...":         {"storage", "storage/tables", "migrations"},
	"storage/tables":      {"storage"},
	"migrations":          {},
	"web":                 {"internal/guard"},
	"web/files":           {},
	"web/whiteboard":      {"internal/guard"},
	"web/queue":           {"internal/guard"},
	"web/api":             {},
	"cmd/confab": {"xmpp/...", "xmpp", "muc", "muc/...", "focus", "focus/...", "bridge", "bridge/...",
		"extdisco", "extdisco/...", "storage", "storage/...", "web", "web/...", "internal/guard", "cmd/confab/..."},
	"cmd/confab/config":   {"xmpp", "xmpp/auth"},
	"cmd/confab/importer": {"cmd/confab/config"},
	"cmd/confab-bench":    {"internal/meettest", "internal/meettest/...", "internal/swarm", "internal/dtlssrtp", "xmpp", "xmpp/xep/..."},
	"internal/swarm":      {"bridge/rtpx", "internal/dtlssrtp"},
	"internal/dtlssrtp":   {},
	"internal/mailbox":    {},
	"internal/guard":      {},
	"internal/cleartext":  {},
	"internal/datagram":   {},
	"internal/freeport":   {},
	"internal/...":        {"..."}, // the test client, which the server doesn't import
	"test/...":            {"..."},
}

// confined are modules that only these packages may import.
var confined = map[string][]string{
	"github.com/jackc/pgx":       {"storage/postgres"},
	"modernc.org/sqlite":         {"storage/sqlite"},
	"github.com/BurntSushi/toml": {"cmd/confab", "cmd/confab/..."},
	"github.com/pion/turn":       {"internal/..."},
	"github.com/pion/webrtc":     {"internal/...", "cmd/confab-bench"},
	"mellium.im":                 {"xmpp", "xmpp/...", "internal/...", "cmd/confab-bench"},
	"github.com/coder/websocket": {"xmpp", "bridge", "bridge/channel", "bridge/export", "web", "web/whiteboard", "web/queue", "internal/...", "cmd/confab-bench"},
}

func TestImports(t *testing.T) {
	t.Parallel()
	const module = "confab/"
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := rule(name)
		if !known {
			t.Errorf("package %s is not in the table", name)
		}
		for _, i := range p.Imports {
			if ours, found := strings.CutPrefix(i, module); found {
				if !matches(ours, allowed) {
					t.Errorf("%s imports %s", name, ours)
				}
				continue
			}
			for mod, by := range confined {
				if (i == mod || strings.HasPrefix(i, mod+"/")) && !matches(name, by) {
					t.Errorf("%s imports %s", name, i)
				}
			}
		}
	}
}

// rule finds the longest pattern that fits.
func rule(name string) (allowed []string, known bool) {
	longest := -1
	for pattern, list := range mayImport {
		if matches(name, []string{pattern}) && len(pattern) > longest {
			allowed, known, longest = list, true, len(pattern)
		}
	}
	return allowed, known
}

func matches(name string, patterns []string) bool {
	for _, p := range patterns {
		below, wild := strings.CutSuffix(p, "...")
		if name == p || wild && strings.HasPrefix(name, below) {
			return true
		}
	}
	return false
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}
