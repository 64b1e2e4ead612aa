package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"confab/internal/meettest"
)

const (
	videoFPS     = 30
	videoBitrate = 2_500_000
)

// flow is what one server did with one sender and its receivers.
type flow struct {
	sent, received uint64
	cpu            float64 // seconds
}

// perCPUSecond is how many packets a second of one core forwards.
func (f flow) perCPUSecond() float64 { return float64(f.received) / f.cpu }

// media sends one 720p video to many receivers and counts forwarded packets per
// second of the server's CPU time, beside Janus when one is named.
func media(ctx context.Context, args []string) error {
	var t target
	fs := t.flags("media")
	receivers := fs.Int("receivers", 10, "participants that receive")
	seconds := fs.Int("seconds", 15, "length of each measurement")
	rounds := fs.Int("rounds", 3, "measurements of each server, in turn; the medians are reported")
	janusURL := fs.String("janus", "", "WebSocket API of a Janus Gateway on this machine")
	janusPID := fs.Int("janus-pid", 0, "its process")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if t.pid == 0 || *janusURL != "" && *janusPID == 0 {
		return errors.New("the processes are needed: -pid, and -janus-pid with -janus")
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	d := time.Duration(*seconds) * time.Second
	var ours, theirs []float64
	var last, lastJanus flow
	for round := range *rounds {
		f, err := t.forward(ctx, roomName("media", round), *receivers, d)
		if err != nil {
			return err
		}
		ours, last = append(ours, f.perCPUSecond()), f
		if *janusURL == "" {
			continue
		}
		if f, err = janusForward(ctx, *janusURL, *janusPID, 4711+round, *receivers, d); err != nil {
			return err
		}
		theirs, lastJanus = append(theirs, f.perCPUSecond()), f
	}
	out := []figure{
		{"receivers", *receivers}, {"packets sent", last.sent}, {"packets received", last.received},
		{"packets forwarded per CPU second", median(ours)},
	}
	if *janusURL != "" {
		out = append(out, figure{"janus: packets sent", lastJanus.sent}, figure{"janus: packets received", lastJanus.received},
			figure{"janus: packets forwarded per CPU second", median(theirs)}, figure{"ratio", median(ours) / median(theirs)})
	}
	return t.report(out)
}

// forward measures our own server.
func (t *target) forward(ctx context.Context, room string, receivers int, d time.Duration) (f flow, err error) {
	sender, err := t.join(ctx, room, &meettest.Media{FPS: videoFPS, Layers: []meettest.Layer{{Width: 1280, Height: 720, Bitrate: videoBitrate}}})
	if err != nil {
		return f, err
	}
	defer sender.Kill()
	all := make([]*meettest.Client, 0, receivers)
	defer func() {
		for _, c := range all {
			c.Kill()
		}
	}()
	source := sender.Nick() + "-v0"
	for range receivers {
		c, err := t.join(ctx, room, nil)
		if err != nil {
			return f, err
		}
		all = append(all, c)
	}
	for _, c := range all {
		if err := c.Until(ctx, "the bridge channel", c.ChannelOpen); err != nil {
			return f, err
		}
		if err := c.Want(720); err != nil {
			return f, err
		}
		if err := c.Until(ctx, "video", func() bool { return c.Stats(source).Frames > 0 }); err != nil {
			return f, err
		}
	}
	count := func() (n uint64) {
		for _, c := range all {
			packets, _ := c.Received()
			n += packets
		}
		return n
	}
	return measure(ctx, t.pid, d, sender.Sent, count)
}

// janusForward measures a Janus Gateway with the same number of packets.
func janusForward(ctx context.Context, url string, pid, room, receivers int, d time.Duration) (f flow, err error) {
	j, err := openJanusFlow(ctx, url, room, receivers)
	if err != nil {
		return f, err
	}
	defer j.close()
	sending, stop := context.WithCancel(ctx)
	j.wg.Go(func() { j.send(sending, videoFPS, videoBitrate) })
	defer stop()
	for j.flowing.Load() < int64(receivers) {
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return f, fmt.Errorf("janus: %d of %d receivers get media: %w", j.flowing.Load(), receivers, err)
		}
	}
	return measure(ctx, pid, d, j.sent.Load, j.received.Load)
}

// measure counts packets and CPU time over d, after two seconds of running in.
func measure(ctx context.Context, pid int, d time.Duration, sent, received func() uint64) (f flow, err error) {
	if err := wait(ctx, 2*time.Second); err != nil {
		return f, err
	}
	s, r := sent(), received()
	before, err := cpuSeconds(pid)
	if err != nil {
		return f, err
	}
	if err := wait(ctx, d); err != nil {
		return f, err
	}
	after, err := cpuSeconds(pid)
	return flow{sent() - s, received() - r, after - before}, err
}
