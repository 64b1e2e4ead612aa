package forward

import (
	"testing"
	"time"
)

// To somebody to whom nothing was sent, because what he wants is more than is assumed
// of his network, padding is sent: or he would wait for ever.
func TestNothingSentIsLookedInto(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	bob := b.join("bob")
	bob.SetMedia(stock())
	if len(bob.got()) > 0 {
		t.Fatal("there is something before there is anything to send")
	}
	bob.SetDemand(Demand{Acted: 300_000, Next: 2_000_000, Ideal: 2_000_000})
	for range 100 {
		b.pass(10 * time.Millisecond)
		b.settle()
		for _, w := range b.e.workers {
			w.call(func() { w.lookAfterLinks() })
		}
		if len(bob.got()) > 0 {
			return
		}
	}
	t.Error("nothing comes in a second")
}
