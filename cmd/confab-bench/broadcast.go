package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"confab/internal/meettest"
	"confab/xmpp"
)

// broadcast has all occupants of a large room speak in turn at a fixed rate, by
// messages and then by presences, and reports delay and cost of the deliveries.
func broadcast(ctx context.Context, args []string) error {
	var t target
	fs := t.flags("broadcast")
	people := fs.Int("people", 70, "occupants of the room; the server admits 75 by default")
	rate := fs.Int("rate", 20, "stanzas sent per second")
	seconds := fs.Int("seconds", 10, "how long, for each kind")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := errors.Join(bounded("people", *people, 2, maxClients), bounded("rate", *rate, 1, 1000), bounded("seconds", *seconds, 1, 600)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	room := roomName("broadcast", 0)
	l := &listener{begun: time.Now(), heard: make(chan struct{}, 1)}
	all, err := t.crowd(ctx, *people, func(int) meettest.Options {
		return meettest.Options{
			URL: t.url, Domain: t.domain, Room: room, Observe: l.hear,
			Features: []string{"http://jabber.org/protocol/caps"}, // no media: the focus leaves them alone
		}
	})
	defer all.kill()
	if err != nil {
		return err
	}
	out := []figure{{"occupants", *people}, {"seconds until all are in", time.Since(l.begun).Seconds()}}
	address := all[0].RoomJID(room).String()
	kinds := []struct {
		name string
		send func(c *meettest.Client, stamp string) error
	}{
		{"messages", func(c *meettest.Client, stamp string) error {
			return c.Send(xmpp.Message, xmpp.TypeGroupchat, "", address, "<body>"+stamp+"</body>")
		}},
		{"presences", func(c *meettest.Client, stamp string) error {
			return c.Send(xmpp.Presence, "", "", address+"/"+c.Nick(), "<bench>"+stamp+"</bench><SourceInfo>{}</SourceInfo>")
		}},
	}
	for _, k := range kinds {
		t.say("%s", k.name)
		figures, err := t.speak(ctx, l, all, k.name, *rate*(*seconds), time.Second/time.Duration(*rate), k.send)
		if err != nil {
			return err
		}
		out = append(out, figures...)
	}
	return t.report(out)
}

// speak sends n stanzas and waits until everybody, the sender too, has all.
func (t *target) speak(ctx context.Context, l *listener, all crowd, name string, n int, every time.Duration,
	send func(c *meettest.Client, stamp string) error,
) ([]figure, error) {
	l.expect(n * len(all))
	before, err := cpuSeconds(t.pid)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := send(all[i%len(all)], strconv.FormatInt(int64(time.Since(l.begun)), 10)); err != nil {
			return nil, err
		}
	}
	select {
	case <-l.heard:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := cpuSeconds(t.pid)
	if err != nil {
		return nil, err
	}
	return append(spread(name+": delay", l.taken()),
		figure{name + ": deliveries", n * len(all)},
		figure{name + ": CPU microseconds per delivery", (after - before) / float64(n*len(all)) * 1e6}), nil
}

// listener collects how long stanzas took; each carries when it was sent.
type listener struct {
	begun time.Time
	heard chan struct{} // signalled when all that was expected is there

	mu     sync.Mutex
	left   int
	delays []time.Duration
}

func (l *listener) expect(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left, l.delays = n, make([]time.Duration, 0, n)
}

func (l *listener) taken() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delays
}

func (l *listener) hear(s *xmpp.Stanza) {
	name := "body"
	if s.Kind == xmpp.Presence {
		name = "bench"
	}
	el := s.Child(xmpp.NSClient, name)
	if el == nil {
		return
	}
	sent, err := strconv.ParseInt(el.Text, 10, 64)
	if err != nil {
		return
	}
	took := time.Since(l.begun) - time.Duration(sent)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delays = append(l.delays, took)
	if l.left--; l.left == 0 {
		l.heard <- struct{}{}
	}
}
