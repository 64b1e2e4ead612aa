package link

import (
	"encoding/json"
	"testing"
	"time"
)

const msec = time.Millisecond

func config(t *testing.T, text string) Config {
	t.Helper()
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBeforeTheBeginning(t *testing.T) {
	t.Parallel()
	l := New(config(t, `{"rates": [[0, 1000], [10, 100]], "jitter": {"maxMS": 300, "lengthMS": 1000}}`))
	if f := l.Offer(-time.Hour, 1250); f != (Fate{Deliver: -time.Hour + 10*msec}) {
		t.Errorf("%+v", f)
	}
}

func TestPerfect(t *testing.T) {
	t.Parallel()
	l := New(Config{Delay: 20 * msec})
	for _, at := range []time.Duration{0, 0, 5 * msec} {
		if f := l.Offer(at, 1250); f != (Fate{Deliver: at + 20*msec}) {
			t.Errorf("%+v", f)
		}
	}
}

// At 1 Mbit/s 1250 bytes take 10 ms: each waits for those before it.
func TestQueueBuilds(t *testing.T) {
	t.Parallel()
	l := New(config(t, `{"rates": [[0, 1000]], "delayMS": 30}`))
	for i := range 5 {
		wait := time.Duration(i) * 10 * msec
		if f := l.Offer(0, 1250); f != (Fate{Queued: wait, Deliver: wait + 40*msec}) {
			t.Errorf("%d: %+v", i, f)
		}
	}
	if f := l.Offer(45*msec, 1250); f.Queued != 5*msec {
		t.Errorf("after 45 ms %+v", f)
	}
	if f := l.Offer(time.Second, 1250); f.Queued != 0 || f.Deliver != 1040*msec {
		t.Errorf("idle again: %+v", f)
	}
}

func TestDropTail(t *testing.T) {
	t.Parallel()
	bytes := New(config(t, `{"rates": [[0, 1000]], "queueBytes": 3750}`))
	for i, want := range []Drop{None, None, None, Queue} {
		if f := bytes.Offer(0, 1250); f.Drop != want {
			t.Errorf("%d bytes queued: %v", i*1250, f.Drop)
		}
	}
	if f := bytes.Offer(10*msec, 1250); f.Drop != None || f.Queued != 20*msec {
		t.Errorf("room for one: %+v", f)
	}
	late := New(config(t, `{"rates": [[0, 1000]], "queueMS": 25}`))
	for i, want := range []Drop{None, None, None, Queue, Queue} {
		if f := late.Offer(0, 1250); f.Drop != want {
			t.Errorf("%d ms queued: %v", i*10, f.Drop)
		}
	}
}

// A packet that is being sent when the rate changes goes on at the new one.
func TestTrace(t *testing.T) {
	t.Parallel()
	l := New(config(t, `{"rates": [[0, 1000], [5, 100], [1000, 0], [2000, 1000]]}`))
	if f := l.Offer(0, 1250); f.Deliver != 55*msec {
		t.Errorf("half at 1 Mbit/s, half at 100 kbit/s: %+v", f)
	}
	if f := l.Offer(1000*msec, 1250); f.Deliver != 2010*msec {
		t.Errorf("nothing passes for a second: %+v", f)
	}
	if r := [...]int64{l.Rate(0), l.Rate(5 * msec), l.Rate(1500 * msec), l.Rate(time.Hour)}; r != [...]int64{1e6, 1e5, 0, 1e6} {
		t.Error(r)
	}
	dead := New(config(t, `{"rates": [[0, 1000], [10, 0]]}`))
	if f := dead.Offer(20*msec, 100); f.Drop != Queue || f.Deliver != Forever {
		t.Errorf("after the end: %+v", f)
	}
}

func TestLossIsAsManyAndTheSameAgain(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (lost int, pattern [64]bool) {
		l := New(Config{Loss: 0.05, Seed: seed})
		for i := range 20_000 {
			if l.Offer(time.Duration(i)*msec, 100).Drop == Loss {
				lost++
				if i < len(pattern) {
					pattern[i] = true
				}
			}
		}
		return lost, pattern
	}
	n, a := run(1)
	if n < 850 || n > 1150 {
		t.Errorf("%d of 20000", n)
	}
	if m, b := run(1); m != n || a != b {
		t.Error("another pattern of the same seed")
	}
	if m, _ := run(2); m == n {
		t.Error("the same of another seed")
	}
}

func TestJitterBursts(t *testing.T) {
	t.Parallel()
	c := config(t, `{"delayMS": 10, "seed": 7, "jitter": {"firstMS": 1000, "everyMS": 500, "lengthMS": 100, "maxMS": 300}}`)
	for _, reorder := range []bool{false, true} {
		c.Reorder = reorder
		l := New(c)
		var last, most time.Duration
		overtaken := 0
		for at := time.Duration(0); at < 5*time.Second; at += msec {
			f := l.Offer(at, 100)
			extra := f.Deliver - at - 10*msec
			burst := at >= time.Second && (at-time.Second)%(500*msec) < 100*msec
			// In order, what follows a burst may have to wait for its last packet.
			if !burst && extra != 0 && (reorder || (at-time.Second)%(500*msec) > 400*msec) {
				t.Fatalf("%v: %v outside of bursts", at, extra)
			}
			if f.Deliver < last {
				overtaken++
			}
			last, most = max(last, f.Deliver), max(most, extra)
		}
		if most < 250*msec || most > 300*msec {
			t.Errorf("up to %v", most)
		}
		if (overtaken > 0) != reorder {
			t.Errorf("%d overtaken with reorder %v", overtaken, reorder)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"rates": [[0, -1]]}`, `{"rates": [[10, 1], [10, 2]]}`, `{"rates": 1}`} {
		var c Config
		if json.Unmarshal([]byte(text), &c) == nil {
			t.Errorf("%s taken", text)
		}
	}
}
