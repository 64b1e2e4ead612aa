package scenario

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"confab/internal/meettest"
)

func TestMain(m *testing.M) { os.Exit(meettest.Main(m)) }

// patience bounds a story; under the race detector on two busy cores minutes go by.
const patience = 5 * time.Minute

// world is a server and the time that a story may take.
type world struct {
	*meettest.Server
	t    *testing.T
	ctx  context.Context
	room string
}

func newWorld(t *testing.T, config string) *world {
	t.Helper()
	t.Parallel()
	server := meettest.StartServer(t, meettest.ServerOptions{Config: config})
	// Only now: the first story also waits for the program to be built.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	room := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	return &world{server, t, ctx, room}
}

// join brings somebody with a camera into the story's room.
func (w *world) join(name string, change func(*meettest.Options)) *meettest.Client {
	w.t.Helper()
	return w.Join(w.ctx, name, w.room, change)
}

// must ends the story if err is one.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// talk waits until every one of cs receives what it should of all others: audio,
// and video that grows and is decodable.
func (w *world) talk(cs ...*meettest.Client) {
	w.t.Helper()
	for _, c := range cs {
		w.must(c.Media(w.ctx))
	}
	var waits []func()
	for _, c := range cs {
		for _, o := range cs {
			if c != o {
				waits = append(waits, w.more(c, o.Nick()+"-a0", 10), w.more(c, o.Nick()+"-v0", 10))
			}
		}
	}
	for _, f := range waits { // they all run at the same time
		f()
	}
}

// sees waits for frames more decodable frames of o's camera at c.
func (w *world) sees(c, o *meettest.Client, frames uint64) {
	w.t.Helper()
	w.more(c, o.Nick()+"-v0", frames)()
}

// hears waits for a few packets of o's microphone at c.
func (w *world) hears(c, o *meettest.Client) {
	w.t.Helper()
	w.more(c, o.Nick()+"-a0", 10)()
}

// silent waits until nothing of o's microphone comes to c any more, while o's camera
// goes on; what was under way may still arrive before that, nothing may after it.
func (w *world) silent(c, o *meettest.Client) {
	w.t.Helper()
	heard := func() uint64 { return c.Stats(o.Nick() + "-a0").Frames }
	before := heard()
	w.sees(c, o, 10)
	for now := heard(); now != before; now = heard() {
		before = now
		w.sees(c, o, 10)
	}
	w.sees(c, o, 20)
	if now := heard(); now != before {
		w.t.Errorf("%d packets of somebody who must not be heard", now-before)
	}
}

// more returns what waits for n more frames of a source, from now on.
func (w *world) more(c *meettest.Client, source string, n uint64) (wait func()) {
	before := c.Stats(source).Frames
	return func() {
		w.t.Helper()
		err := c.Until(w.ctx, fmt.Sprintf("%d frames of %s", n, source), func() bool { return c.Stats(source).Frames >= before+n })
		if err != nil {
			w.t.Fatalf("%v\n%+v\nforwarded %v, signalled %v, strange %v", err, c.Stats(source), c.Forwarded(), c.Sources(), c.Strange())
		}
	}
}

// smooth checks that everything that c received of the others is continuous.
func (w *world) smooth(c *meettest.Client, others ...*meettest.Client) {
	w.t.Helper()
	for _, o := range others {
		for _, name := range []string{o.Nick() + "-v0", o.Nick() + "-a0"} {
			st := c.Stats(name)
			if st.Jumps > 0 || st.Broken > 0 || st.Lost > 0 || len(st.SSRCs) > 1 {
				w.t.Errorf("%s at %s: %+v", name, c.Nick(), st)
			}
		}
	}
	if s := c.Strange(); len(s) > 0 {
		w.t.Errorf("%s got packets that nobody signalled: %v", c.Nick(), s)
	}
}

// seen is o as c sees it, once it does.
func (w *world) seen(c, o *meettest.Client) (seen meettest.Occupant) {
	w.t.Helper()
	w.must(c.Until(w.ctx, "to see "+o.Nick(), func() (ok bool) {
		seen, ok = c.Occupant(o.Nick())
		return ok
	}))
	return seen
}

// cancelled is a context for what must already have happened.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
