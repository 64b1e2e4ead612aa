package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"confab/internal/meettest"
)

const (
	maxClients = 2000    // of one run
	dialAtOnce = 16      // clients that connect at a time
	maxPackets = 200_000 // sent per second by all together
	// packetPayload is what a full packet of video carries.
	packetPayload = 1094
)

// load puts a fixed packet rate through many rooms at once and reports what the
// server's CPU time forwards and what is lost from end to end.
func load(ctx context.Context, args []string) error {
	var t target
	fs := t.flags("load")
	rooms := fs.Int("rooms", 5, "meetings")
	people := fs.Int("people", 10, "participants of each")
	senders := fs.Int("senders", 2, "of them who send video; nobody sends audio")
	rate := fs.Int("rate", 300, "packets per second of one sender, a multiple of 30")
	seconds := fs.Int("seconds", 10, "length of the measurement")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := errors.Join(bounded("rooms", *rooms, 1, maxClients/2), bounded("people", *people, 2, maxClients / *rooms),
		bounded("senders", *senders, 1, *people), bounded("rate", *rate, videoFPS, maxPackets/(*rooms**senders))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	// One encoding of 180 lines, which receivers get without asking.
	video := &meettest.Media{FPS: videoFPS, Layers: []meettest.Layer{{
		Width: 320, Height: 180, Bitrate: *rate / videoFPS * packetPayload * 8 * videoFPS,
	}}}
	all, err := t.crowd(ctx, *rooms**people, func(i int) meettest.Options {
		opt := meettest.Options{URL: t.url, Domain: t.domain, Room: roomName("load", i / *people)}
		if i%*people < *senders {
			opt.Media = video
		}
		return opt
	})
	defer all.kill()
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := c.Media(ctx); err != nil {
			return err
		}
	}
	t.say("all are connected")
	f, err := measure(ctx, t.pid, time.Duration(*seconds)*time.Second, all.sent, all.received)
	if err != nil {
		return err
	}
	memory, err := residentMB(t.pid)
	if err != nil {
		return err
	}
	expected := float64(f.sent) * float64(*people-1)
	return t.report([]figure{
		{"meetings", *rooms}, {"participants", len(all)}, {"senders", *rooms * *senders},
		{"packets sent per second", float64(f.sent) / float64(*seconds)},
		{"packets forwarded per second", float64(f.received) / float64(*seconds)},
		{"packets forwarded per CPU second", f.perCPUSecond()},
		{"CPU cores used", f.cpu / float64(*seconds)},
		{"packets that did not arrive, percent", max(0, 100*(1-float64(f.received)/expected))},
		{"resident MB", memory},
	})
}

// crowd is many clients.
type crowd []*meettest.Client

// crowd connects n clients and brings them into their rooms.
func (t *target) crowd(ctx context.Context, n int, options func(i int) meettest.Options) (crowd, error) {
	all := make(crowd, n)
	var done atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(dialAtOnce)
	for i := range n {
		g.Go(func() error {
			opt := options(i)
			c, err := meettest.Dial(gctx, opt)
			if err != nil {
				return err
			}
			all[i] = c
			if err := c.Join(gctx, opt.Room); err != nil {
				return fmt.Errorf("join %s: %w", opt.Room, err)
			}
			if k := done.Add(1); k%50 == 0 {
				t.say("%d of %d clients joined", k, n)
			}
			return nil
		})
	}
	return all, g.Wait()
}

func (all crowd) kill() {
	var g errgroup.Group
	g.SetLimit(dialAtOnce)
	for _, c := range all {
		if c != nil {
			g.Go(func() error { c.Kill(); return nil })
		}
	}
	_ = g.Wait()
}

func (all crowd) sent() (n uint64) {
	for _, c := range all {
		n += c.Sent()
	}
	return n
}

func (all crowd) received() (n uint64) {
	for _, c := range all {
		packets, _ := c.Received()
		n += packets
	}
	return n
}
