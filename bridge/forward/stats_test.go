package forward

import "testing"

// Metrics are counters: who leaves takes nothing back.
func TestStatsKeepWhatLeftEndpointsDid(t *testing.T) {
	e := NewEngine(Config{Workers: 1, Tick: -1})
	defer e.Close()
	p, err := e.NewPipeline("r")
	if err != nil {
		t.Fatal(err)
	}
	ep, err := p.Attach(EndpointConfig{ID: "aaaaaaaa"})
	if err != nil {
		t.Fatal(err)
	}
	ep.stats.received.Add(7)
	ep.Close()
	ep.Close()
	if got := e.Stats().Received; got != 7 {
		t.Fatalf("received %d", got)
	}
}
