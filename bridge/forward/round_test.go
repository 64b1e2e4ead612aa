package forward

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// diary is a Sender that notes in which order packets leave the worker.
type diary struct {
	name string
	all  *[]string // of the worker
	bad  uint16    // the number at which it panics
}

func (d *diary) WriteRTP(_ Batch, p []byte) error {
	var h rtpx.Header
	h.Parse(p)
	if h.Seq == d.bad && d.bad != 0 {
		panic("as the test wants")
	}
	*d.all = append(*d.all, fmt.Sprint(d.name, h.Seq))
	return nil
}
func (d *diary) WriteRTCP(Batch, []byte) error { return nil }

// hold lets a worker do nothing until the returned function is called.
func hold(w *worker) (release func()) {
	held, goOn := make(chan struct{}), make(chan struct{})
	w.post(func() { close(held); <-goOn })
	<-held
	return func() { close(goOn) }
}

// What waits for a worker leaves receiver by receiver, each in order.
func TestRoundByReceiver(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.Workers = 1 })
	alice := b.join("alice", mic("alice-a0", 1))
	bob := b.join("bob", mic("bob-a0", 2))
	var all []string
	alice.SetSender(&diary{name: "a", all: &all})
	bob.SetSender(&diary{name: "b", all: &all})
	carol := b.join("carol")
	carol.SetSender(&diary{name: "c", all: &all})
	release := hold(b.e.workers[0])
	for i := range uint16(3) {
		alice.send(opus(1, 10+i, 20))
		bob.send(opus(2, 20+i, 20))
	}
	release()
	b.settle()
	want := []string{"b10", "b11", "b12", "c10", "c20", "c11", "c21", "c12", "c22", "a20", "a21", "a22"}
	if !slices.Equal(all, want) {
		t.Errorf("sent %v, want %v", all, want)
	}
}

// A panic in the middle of a round costs the one packet that it is about.
func TestRoundPanic(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.Workers = 1 })
	alice := b.join("alice", mic("alice-a0", 1))
	var all []string
	bob, carol := b.join("bob"), b.join("carol")
	bob.SetSender(&diary{name: "b", all: &all, bad: 11})
	carol.SetSender(&diary{name: "c", all: &all})
	release := hold(b.e.workers[0])
	for i := range uint16(3) {
		alice.send(opus(1, 10+i, 20))
	}
	release()
	b.settle()
	if want := []string{"b10", "b12", "c10", "c11", "c12"}; !slices.Equal(all, want) {
		t.Errorf("sent %v, want %v", all, want)
	}
	if n := b.e.workers[0].panics.Swap(0); n != 1 {
		t.Errorf("%d panics counted", n)
	}
}

// Who has left stays in no list that is used again.
func TestRoundForgets(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.Workers = 1 })
	alice := b.join("alice", mic("alice-a0", 1))
	bob, carol := b.join("bob"), b.join("carol")
	release := hold(b.e.workers[0])
	for i := range uint16(5) {
		alice.send(opus(1, 10+i, 20))
	}
	release()
	b.settle()
	if len(bob.got()) != 5 {
		t.Fatal("bob did not hear alice")
	}
	alice.Close()
	carol.Close()
	b.pass(time.Duration(housekeeping))
	b.settle()
	w := b.e.workers[0]
	w.call(func() {
		for _, d := range bob.eg.due[:cap(bob.eg.due)] {
			if d != (due{}) {
				t.Errorf("packet of %s", d.sub.src.Name)
			}
		}
		for _, eg := range w.due[:cap(w.due)] {
			if eg != nil {
				t.Errorf("receiver %s", eg.ep.id)
			}
		}
	})
}
