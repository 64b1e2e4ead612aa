package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"confab/internal/meettest"
)

func TestMain(m *testing.M) { os.Exit(meettest.Main(m)) }

// Every command runs against a real server, with little of everything.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := meettest.StartServer(t, meettest.ServerOptions{})
	for name, args := range map[string][]string{
		"join":      {"-n", "2"},
		"broadcast": {"-people", "4", "-rate", "20", "-seconds", "1"},
		"meetings":  {"-rooms", "1", "-people", "2", "-seconds", "1"},
		"chat":      {"-people", "3", "-messages", "5"},
		"scale":     {"-scene", "test", "-seconds", "1"},
		"media":     {"-people", "3", "-mics", "-seconds", "1", "-out", filepath.Join(t.TempDir(), "media.json")},
	} {
		t.Run(name, func(t *testing.T) {
			common := []string{name, "-url", s.Options("").URL, "-domain", s.Domain, "-pid", strconv.Itoa(s.PID), "-json"}
			if err := run(t.Context(), append(common, args...)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, args := range [][]string{{"media", "-rooms", "100000"}, {"turn", "-secret", "s", "-allocations", "100000"}, {"turn"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%v: an unbounded load was accepted", args)
		}
	}
}
