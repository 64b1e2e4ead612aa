package main

import (
	"slices"
	"testing"

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
