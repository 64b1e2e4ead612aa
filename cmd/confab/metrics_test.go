package main

import (
	"slices"
	"testing"

	"confab/bridge/forward"
	"confab/bridge/transport"
	"confab/extdisco/relay"
	"confab/focus"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsOfTheProcess(t *testing.T) {
	t.Parallel()
	ours := prometheus.NewGauge(prometheus.GaugeOpts{Name: "confab_test", Help: "Ours."})
	r, err := newRegistry(ours)
	if err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	for _, want := range []string{"confab_test", "go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s among %v", want, names)
		}
	}
}

// Two figures of one name differ in their label, which has a name.
func TestFiguresAreDistinct(t *testing.T) {
	t.Parallel()
	list := slices.Concat(socketFigures(transport.SocketStats{}), relayFigures(relay.Stats{}), focusFigures(focus.Stats{}),
		forwardFigures(forward.Stats{}), []figure{panicFigure("xmpp", 0), panicFigure("muc", 0)})
	seen := map[[2]string]bool{}
	for _, f := range list {
		key := [2]string{f.name, f.label}
		if seen[key] || (f.label != "") != (labelled[f.name] != "") {
			t.Errorf("%s %q", f.name, f.label)
		}
		seen[key] = true
	}
}
