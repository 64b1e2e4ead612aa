package main

import (
	"context"
	"fmt"
	"time"

	"confab/internal/meettest"
)

// join measures how long it takes from an open WebSocket to the first whole
// video frame of somebody who is there already, and to the stages before.
func join(ctx context.Context, args []string) error {
	var t target
	fs := t.flags("join")
	n := fs.Int("n", 20, "joins, one after the other")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := bounded("n", *n, 1, 1000); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	camera := meettest.Camera()
	camera.FPS = videoFPS // a key frame that is asked for waits for the camera
	room := roomName("join", 0)
	host, err := t.join(ctx, room, camera)
	if err != nil {
		return err
	}
	defer host.Kill()
	var joined, connected, frames []time.Duration
	for i := range *n {
		// The bridge asks a camera for one key frame in 200 ms, whoever wants one:
		// joins in quick succession would measure that.
		if err := wait(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		times, err := t.joinOnce(ctx, room, host.Nick()+"-v0", camera)
		if err != nil {
			return fmt.Errorf("join %d: %w", i+1, err)
		}
		joined, connected, frames = append(joined, times[0]), append(connected, times[1]), append(frames, times[2])
		t.say("join %d: %v", i+1, times)
	}
	out := []figure{{"joins", *n}}
	out = append(out, spread("in the room", joined)...)
	out = append(out, spread("media and bridge channel", connected)...)
	out = append(out, spread("first remote frame", frames)...)
	return t.report(out)
}

// joinOnce returns the time from WebSocket open to being in the room, to media
// connection and bridge channel, and to the first frame.
func (t *target) joinOnce(ctx context.Context, room, source string, camera *meettest.Media) (times [3]time.Duration, err error) {
	c, err := t.join(ctx, room, camera)
	if err != nil {
		return times, err
	}
	defer c.Kill()
	times[0] = time.Since(c.Opened())
	if err := c.Media(ctx); err != nil {
		return times, err
	}
	times[1] = time.Since(c.Opened())
	if err := c.Until(ctx, "the first frame", func() bool { return c.Stats(source).Frames > 0 }); err != nil {
		return times, err
	}
	times[2] = time.Since(c.Opened())
	if err := c.Leave(ctx); err != nil {
		return times, err
	}
	return times, c.Close()
}
