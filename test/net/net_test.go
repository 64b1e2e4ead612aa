package net

import (
	"context"
	"os"
	"testing"
	"time"

	"confab/internal/meettest"
	"confab/test/net/link"
)

func TestMain(m *testing.M) { os.Exit(meettest.Main(m)) }

// patience bounds a story; under the race detector on two busy cores minutes go by.
const patience = 5 * time.Minute

const kbit = 1000

func steady(rate int64) link.Config {
	return link.Config{Rates: []link.Step{{Rate: rate}}, QueueTime: time.Second, Delay: 10 * time.Millisecond}
}

// meeting is somebody with a camera (60, 150 and 400 kbit/s) and somebody behind a wire.
func meeting(t *testing.T, c link.Config) (ctx context.Context, w *wire, receiver *meettest.Client, source string) {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := meettest.StartServer(t, meettest.ServerOptions{})
	w = newWire(t, s.Media, c)
	a := s.Join(ctx, "Ann", "wire", nil)
	b := s.Join(ctx, "Bea", "wire", func(o *meettest.Options) { o.Through, o.Media = w.port(), meettest.Microphone() })
	if err := b.Media(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Want(720); err != nil {
		t.Fatal(err)
	}
	return ctx, w, b, a.Nick() + "-v0"
}

// The rate falls below that of the layer: a lower one comes, the queue goes away,
// the picture goes on; and when the rate is back, so is the layer.
func TestDropAndBack(t *testing.T) {
	ctx, w, c, source := meeting(t, steady(3000*kbit))
	height := func(what string, is func(h int) bool) {
		t.Helper()
		if err := c.Until(ctx, what, func() bool { return is(c.Stats(source).Height) }); err != nil {
			t.Fatalf("%v\n%+v", err, c.Stats(source))
		}
	}
	height("720 lines", func(h int) bool { return h == 720 })

	w.change(steady(220 * kbit))
	height("less than 720 lines", func(h int) bool { return h < 720 })
	// What waits in the queue can go only if less is sent than the link carries.
	for {
		w.seen()
		frames(ctx, t, c, source, 10)
		if queued, rate := w.seen(); queued < 200*time.Millisecond {
			t.Logf("queue %v at %.0f kbit/s", queued, rate/kbit)
			break
		}
	}
	frames(ctx, t, c, source, 10)

	w.change(steady(3000 * kbit))
	height("720 lines again", func(h int) bool { return h == 720 })
	frames(ctx, t, c, source, 10)
}

// Where the best layer never fits, a lower one is all that is sent and the queue
// stays short.
func TestNarrow(t *testing.T) {
	ctx, w, c, source := meeting(t, steady(250*kbit))
	calm := 0
	for calm < 5 { // times in a row, as probes may fill the queue for a moment
		w.seen()
		frames(ctx, t, c, source, 10)
		queued, rate := w.seen()
		if calm++; queued > 300*time.Millisecond || c.Stats(source).Height > 360 {
			t.Logf("not yet calm: %v, %.0f kbit/s, %d lines", queued, rate/kbit, c.Stats(source).Height)
			calm = 0
		}
	}
}

// frames waits for more decodable frames.
func frames(ctx context.Context, t *testing.T, c *meettest.Client, source string, n uint64) {
	t.Helper()
	before := c.Stats(source).Frames
	if err := c.Until(ctx, "frames", func() bool { return c.Stats(source).Frames >= before+n }); err != nil {
		t.Fatalf("%v\n%+v", err, c.Stats(source))
	}
}
