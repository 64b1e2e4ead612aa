package forward

import (
	"testing"
	"time"
)

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

// Every media packet that a worker took is in one class of the time that it was here.
func TestTransit(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	alice := b.join("alice", mic("alice-a0", 1))
	bob := b.join("bob")
	for seq := range uint16(10) {
		alice.send(opus(1, seq, 20))
		bob.got()
		b.pass(20 * time.Millisecond)
	}
	sum := uint64(0)
	for _, n := range b.e.Stats().Transit {
		sum += n
	}
	if sum != 10 {
		t.Errorf("%d packets", sum)
	}
	var tr transit
	for _, d := range []time.Duration{-1, 0, 100 * time.Microsecond, 101 * time.Microsecond, time.Millisecond, time.Hour} {
		tr.add(int64(d))
	}
	for i, want := range map[int]uint64{0: 3, 1: 1, 2: 0, 3: 1, len(TransitBounds): 1} {
		if got := tr.counts[i].Load(); got != want {
			t.Errorf("class %d: %d", i, got)
		}
	}
}
