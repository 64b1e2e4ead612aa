package main

import (
	"context"
	"time"

	"confab/internal/meettest"
)

// meetings holds many small meetings and reports what the server needs for them.
func meetings(ctx context.Context, args []string) error {
	var t target
	fs := t.flags("meetings")
	rooms := fs.Int("rooms", 10, "meetings")
	people := fs.Int("people", 3, "participants of each")
	seconds := fs.Int("seconds", 15, "how long they last")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	idle, err := residentMB(t.pid)
	if err != nil {
		return err
	}
	var all []*meettest.Client
	defer func() {
		for _, c := range all {
			c.Kill()
		}
	}()
	started := time.Now()
	for r := range *rooms {
		for range *people {
			c, err := t.join(ctx, roomName("meeting", r), meettest.Camera())
			if err != nil {
				return err
			}
			all = append(all, c)
		}
	}
	for _, c := range all {
		if err := c.Until(ctx, "video of the others", func() bool { return seen(c) >= *people-1 }); err != nil {
			return err
		}
	}
	joined := time.Since(started)
	before, err := cpuSeconds(t.pid)
	if err != nil {
		return err
	}
	if err := wait(ctx, time.Duration(*seconds)*time.Second); err != nil {
		return err
	}
	after, err := cpuSeconds(t.pid)
	if err != nil {
		return err
	}
	busy, err := residentMB(t.pid)
	if err != nil {
		return err
	}
	var lost uint64
	for _, c := range all {
		_, l := c.Received()
		lost += l
	}
	return t.report([]figure{
		{"meetings", *rooms}, {"participants", len(all)}, {"seconds until all see each other", joined.Seconds()},
		{"resident MB before", idle}, {"resident MB during", busy},
		{"CPU cores used", (after - before) / float64(*seconds)}, {"packets lost", lost},
	})
}

// seen counts the cameras that a client gets frames of.
func seen(c *meettest.Client) (n int) {
	for _, s := range c.Sources() {
		if c.Stats(s).Frames > 0 {
			n++
		}
	}
	return n
}
