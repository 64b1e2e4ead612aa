package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"confab/internal/swarm"
)

// scene is a meeting, or many, as people hold them.
type scene struct {
	rooms, people, cameras int
	height, lastN          int
	screen                 bool // somebody shares it for a while
	about                  string
}

var scenes = map[string]scene{
	"meeting": {rooms: 1, people: 75, cameras: 25, height: 180, lastN: 20, screen: true, about: "75 microphones, 25 cameras, the last 20 shown small, a screen share starts and stops"},
	"screen":  {rooms: 1, people: 100, height: 180, lastN: -1, screen: true, about: "100 people look at one screen share"},
	"test":    {rooms: 1, people: 3, cameras: 2, height: 180, lastN: 1, screen: true, about: "three, for tests"},
	"small":   {rooms: 30, people: 3, cameras: 3, height: 720, lastN: -1, about: "30 meetings of three with camera"},
}

// screen is a shared one: 1080 lines, 15 frames/s at 1.5 Mbit/s.
func screen() *swarm.Track {
	t := swarm.NewVideo(15, swarm.Encoding{Width: 1920, Height: 1080, Bitrate: 1_500_000})
	t.KeyFactor = 5
	return t
}

// phase is a part of a scene.
type phase struct {
	Name string
	result
	// FirstFrame is how long receivers waited for the first of the shared screen.
	FirstFrame spreadSeconds `json:",omitzero"`
}

type spreadSeconds struct{ Median, Most float64 }

// scale holds meetings of a size with real signalling and reports whether anybody
// missed anything.
func scale(ctx context.Context, args []string) error {
	var t target
	fs := t.flags("scale")
	name := fs.String("scene", "meeting", "meeting, screen or small")
	var m measuring
	m.flags(fs)
	out := fs.String("out", "", "file for everything measured, as JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	sc, ok := scenes[*name]
	if !ok {
		return errors.New("-scene must be meeting, screen or small")
	}
	if t.pid == 0 {
		return errors.New("the process of the server is needed: -pid")
	}
	c := contender{"confab", t.pid, confab{&t}}
	if err := m.pin([]contender{c}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	sw, err := swarm.New(swarm.Options{Network: m.network})
	if err != nil {
		return err
	}
	defer sw.Close()
	before, err := residentMB(t.pid)
	if err != nil {
		return err
	}
	p := &play{t: &t, m: &m, c: c, sc: sc, sw: sw}
	defer p.end()
	phases, err := p.run(ctx)
	if err != nil {
		return err
	}
	if *out != "" {
		b, err := json.MarshalIndent(map[string]any{"date": time.Now().UTC().Format(time.RFC3339), "arguments": args, "phases": phases, "joins": p.joins}, "", "  ")
		if err == nil {
			err = os.WriteFile(*out, append(b, '\n'), 0o600)
		}
		if err != nil {
			return err
		}
	}
	slices.Sort(p.joins)
	last := phases[len(phases)-1]
	figures := []figure{
		{"scene", sc.about}, {"participants", sc.rooms * sc.people},
		{"seconds to join, median", median(p.joins)}, {"seconds to join, slowest", p.joins[len(p.joins)-1]},
		{"MB of memory before", before}, {"MB of memory during", last.MemoryDuring},
	}
	for _, ph := range phases {
		add := func(what string, v any) { figures = append(figures, figure{ph.Name + ": " + what, v}) }
		add("audio packets received", ph.AudioReceived)
		add("audio packets lost", ph.AudioLost)
		add("video packets lost", ph.Lost-ph.AudioLost)
		add("videos with frames", ph.VideoStreams)
		add("frames per video and second", ph.FrameRate)
		add("freezes", ph.Freezes)
		add("seconds frozen", ph.FrozenSeconds)
		add("packets/s", ph.PacketsPerSecond)
		add("CPU cores used", ph.Cores)
		add("generator cores used", ph.ClientCores)
		add("ms of latency, 99 of 100", ph.P99)
		if ph.FirstFrame.Most > 0 {
			add("seconds until the screen is there, median", ph.FirstFrame.Median)
			add("seconds until the screen is there, slowest", ph.FirstFrame.Most)
		}
	}
	return t.report(figures)
}

// play is a scene under way.
type play struct {
	t  *target
	m  *measuring
	c  contender
	sc scene
	sw *swarm.Swarm

	all   []*member
	in    []*confabMember
	leave []func()
	mu    sync.Mutex
	joins []float64
}

func (p *play) end() {
	for _, f := range p.leave {
		f()
	}
}

func (p *play) run(ctx context.Context) ([]phase, error) {
	for r := range p.sc.rooms {
		members := make([]*member, p.sc.people)
		for i := range members {
			m := &member{watch: true, height: p.sc.height, lastN: p.sc.lastN, entered: func(s float64) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.joins = append(p.joins, s)
			}}
			// Three speak, the others are in a quiet room.
			level := uint8(70 + i%20)
			if i < 3 {
				level = uint8(25 + 5*i)
			}
			m.tracks = append(m.tracks, swarm.NewAudio(100, 20*time.Millisecond, level))
			if i < p.sc.cameras {
				cam := swarm.NewVideo(videoFPS, simulcast720...)
				cam.KeyFactor, cam.TemporalLayers = 3, 3
				m.tracks = append(m.tracks, cam)
			}
			members[i] = m
		}
		in, leave, err := confab{p.t}.join(ctx, p.sw, roomName("scale", r), members)
		if err != nil {
			return nil, err
		}
		p.leave = append(p.leave, leave)
		p.all, p.in = append(p.all, members...), append(p.in, in...)
	}
	p.t.say("all are in")
	if err := wait(ctx, 5*time.Second); err != nil {
		return nil, err
	}
	if !p.sc.screen {
		ph, err := p.phase(ctx, "meeting")
		return []phase{ph}, err
	}
	quiet, err := p.phase(ctx, "before the share")
	if err != nil {
		return nil, err
	}
	t := screen()
	began := time.Now()
	if err := p.in[0].share(ctx, t); err != nil {
		return nil, err
	}
	for _, cm := range p.in[1:] {
		cm.stage(p.in[0].screenName(), 2160)
	}
	during, err := p.phase(ctx, "during the share")
	if err != nil {
		return nil, err
	}
	during.FirstFrame, err = p.firstFrames(t, began)
	if err != nil {
		return nil, err
	}
	if err := p.in[0].unshare(ctx); err != nil {
		return nil, err
	}
	for _, cm := range p.in[1:] {
		cm.stage("", 0)
	}
	after, err := p.phase(ctx, "after the share")
	return []phase{quiet, during, after}, err
}

func (p *play) phase(ctx context.Context, name string) (phase, error) {
	r, err := p.m.once(ctx, p.c, &shape{simulcast: true, lastN: -1}, p.sw, p.all, float64(p.m.seconds))
	p.t.say("%s: %d audio packets, %d lost; %.2f frames/s of %d videos, %d freezes; %.0f packets/s with %.2f cores",
		name, r.AudioReceived, r.AudioLost, r.FrameRate, r.VideoStreams, r.Freezes, r.PacketsPerSecond, r.Cores)
	return phase{Name: name, result: r}, err
}

// firstFrames tells how long after began the others had the first packet of a track.
func (p *play) firstFrames(t *swarm.Track, began time.Time) (s spreadSeconds, err error) {
	var waits []float64
	for _, m := range p.all[1:] {
		for _, l := range m.legs {
			for _, st := range l.Received() {
				if st.SSRC == t.SSRCs[0] && st.KeyFrames > 0 {
					waits = append(waits, time.Unix(0, st.First).Sub(began).Seconds())
				}
			}
		}
	}
	if len(waits) < len(p.all)-1 {
		return s, fmt.Errorf("%d of %d have the shared screen", len(waits), len(p.all)-1)
	}
	slices.Sort(waits)
	return spreadSeconds{median(waits), waits[len(waits)-1]}, nil
}
