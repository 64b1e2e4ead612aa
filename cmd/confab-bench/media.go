package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"confab/internal/swarm"
)

// videoFPS is the frame rate of cameras that nothing else is said about.
const videoFPS = 30

// shape is the load: rooms of people, of whom some send.
type shape struct {
	rooms, people, senders int
	video, audio           bool // what senders send
	mics                   bool // everybody has a microphone
	size, rate, fps        int  // of video packets, and packets/s of each sender
	simulcast              bool
	audioSize              int
	audioInterval          time.Duration
	height, lastN          int
	loss                   float64
	delay                  time.Duration
}

func (s *shape) flags(fs *flag.FlagSet) {
	fs.IntVar(&s.rooms, "rooms", 1, "rooms")
	fs.IntVar(&s.people, "people", 11, "participants of each")
	fs.IntVar(&s.senders, "senders", 1, "those of them who send")
	fs.BoolVar(&s.video, "video", true, "senders send video")
	fs.BoolVar(&s.audio, "audio", false, "senders send audio")
	fs.BoolVar(&s.mics, "mics", false, "everybody sends audio")
	fs.IntVar(&s.size, "size", 1200, "bytes of a video packet, RTP header included")
	fs.IntVar(&s.rate, "rate", 260, "video packets/s of a sender (260 of 1,200 bytes: 2.5 Mbit/s)")
	fs.IntVar(&s.fps, "fps", videoFPS, "frames/s")
	fs.BoolVar(&s.simulcast, "simulcast", false, "three encodings of 180, 360 and 720 lines as a browser sends them, instead of -size and -rate")
	fs.IntVar(&s.audioSize, "audio-size", 120, "bytes of an audio packet, RTP header included")
	fs.DurationVar(&s.audioInterval, "audio-interval", 20*time.Millisecond, "time between audio packets")
	fs.IntVar(&s.height, "height", 0, "lines that receivers want of every video, 0: all (Confab)")
	fs.IntVar(&s.lastN, "last-n", -1, "videos that receivers want, -1: all (Confab)")
	fs.Float64Var(&s.loss, "loss", 0, "share of the packets that is lost on the way to the server, and to receivers")
	fs.DurationVar(&s.delay, "delay", 0, "by which packets reach receivers later")
}

func (s *shape) check() error {
	return errors.Join(bounded("rooms", s.rooms, 1, 500), bounded("people", s.people, 2, 1000), bounded("senders", s.senders, 0, s.people),
		bounded("size", s.size, 100, 1200), bounded("audio-size", s.audioSize, 60, 1200), bounded("rate", s.rate, 1, 20_000), bounded("fps", s.fps, 1, 120),
		bounded("participants of all rooms", s.rooms*s.people, 2, 20_000))
}

// simulcast720 is what Chromium sends of a 720p camera, roughly.
var simulcast720 = []swarm.Encoding{
	{Width: 320, Height: 180, Bitrate: 150_000}, {Width: 640, Height: 360, Bitrate: 500_000}, {Width: 1280, Height: 720, Bitrate: 2_000_000},
}

// members of a room, the senders first.
func (s *shape) members() []*member {
	out := make([]*member, s.people)
	for i := range out {
		m := &member{watch: true, height: s.height, lastN: s.lastN}
		if i < s.senders && s.audio || s.mics {
			m.tracks = append(m.tracks, swarm.NewAudio(s.audioSize, s.audioInterval, uint8(min(30+i, 100))))
		}
		if i < s.senders && s.video {
			m.tracks = append(m.tracks, s.camera())
		}
		out[i] = m
	}
	return out
}

func (s *shape) camera() *swarm.Track {
	if !s.simulcast {
		return swarm.NewVideo(s.fps, swarm.Encoding{Width: 1280, Height: 720, Bitrate: s.size * 8 * s.rate, PacketSize: s.size})
	}
	t := swarm.NewVideo(s.fps, simulcast720...)
	t.KeyFactor, t.TemporalLayers = 3, 3
	return t
}

// fewVoices is up to how many people all voices are forwarded: of more, Confab sends
// only the loudest on (bridge.loudest_above).
const fewVoices = 30

// streams is how many a load makes at the receivers, and fanout how many copies of
// each packet sent there are, if all get everything.
func (s *shape) streams() (video, audio int, fanout int) {
	if s.video {
		video = s.senders * (s.people - 1)
	}
	if s.mics && s.people > fewVoices {
		audio = 0
	} else if s.mics {
		audio = s.people * (s.people - 1)
	} else if s.audio {
		audio = s.senders * (s.people - 1)
	}
	if s.lastN >= 0 && s.video {
		video = 0
		for i := range s.people {
			others := s.senders
			if i < s.senders {
				others--
			}
			video += min(others, s.lastN)
		}
	}
	return video * s.rooms, audio * s.rooms, s.people - 1
}

// contender is a server under comparison.
type contender struct {
	name string
	pid  int
	peer peer
}

// media loads a server, and others beside it, with media through their own
// signalling, and reports what that cost and what arrived.
func media(ctx context.Context, args []string) error {
	var t target
	var s shape
	var p peers
	fs := t.flags("media")
	s.flags(fs)
	p.flags(fs)
	var m measuring
	m.flags(fs)
	rounds := fs.Int("rounds", 1, "measurements of each server, in turn; medians are reported")
	ceiling := fs.Bool("ceiling", false, "measure in each round, too, what encrypting and sending the same packets costs at least")
	out := fs.String("out", "", "file for everything measured, as JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	servers, err := p.contenders(&t)
	if err != nil {
		return err
	}
	if err := m.pin(servers); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	all := map[string][]result{}
	for round := range *rounds {
		factor := 1.0
		for _, c := range servers {
			r, err := m.run(ctx, &t, c, &s, round)
			if err != nil && (c.name == "confab" || ctx.Err() != nil) {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if err != nil { // that another server does not bear the load is a result
				t.say("%s: %v", c.name, err)
				r.Failed = err.Error()
			}
			all[c.name] = append(all[c.name], r)
			if c.name == "confab" && r.Factor > 0 {
				factor = r.Factor
			}
		}
		if *ceiling {
			r, err := m.ceiling(ctx, &t, &s, factor)
			if err != nil {
				return fmt.Errorf("ceiling: %w", err)
			}
			all["ceiling"] = append(all["ceiling"], r)
		}
	}
	if *out != "" {
		b, err := json.MarshalIndent(map[string]any{"date": time.Now().UTC().Format(time.RFC3339), "arguments": args, "results": all}, "", "  ")
		if err == nil {
			err = os.WriteFile(*out, append(b, '\n'), 0o600)
		}
		if err != nil {
			return err
		}
	}
	return t.report(summary(servers, all))
}

// summary has the medians of each server and how ours compares.
func summary(servers []contender, all map[string][]result) (out []figure) {
	names := make([]string, 0, len(all))
	for _, c := range servers {
		names = append(names, c.name)
	}
	if all["ceiling"] != nil {
		names = append(names, "ceiling")
	}
	per := map[string]float64{}
	best, bestName := 0.0, ""
	for _, name := range names {
		rs := whole(all[name])
		if len(rs) == 0 {
			out = append(out, figure{name + ": failed", all[name][0].Failed})
			continue
		}
		mid := func(f func(*result) float64) float64 { return middle(rs, f) }
		per[name] = mid(func(r *result) float64 { return r.PerCore })
		if name != "confab" && name != "ceiling" && per[name] > best {
			best, bestName = per[name], name
		}
		add := func(what string, v any) { out = append(out, figure{name + ": " + what, v}) }
		add("packets forwarded per second of a core", per[name])
		add("packets/s", mid(func(r *result) float64 { return r.PacketsPerSecond }))
		add("cores used", mid(func(r *result) float64 { return r.Cores }))
		if name == "ceiling" {
			continue
		}
		if slices.ContainsFunc(rs, func(r result) bool { return r.Capacity > 0 }) {
			add("packets/s at most without loss", mid(func(r *result) float64 { return r.Capacity }))
		}
		add("lost of 100", mid(func(r *result) float64 { return r.LossPercent }))
		add("ms of latency, median", mid(func(r *result) float64 { return r.P50 }))
		add("ms of latency, 99 of 100", mid(func(r *result) float64 { return r.P99 }))
		add("ms of latency, 999 of 1000", mid(func(r *result) float64 { return r.P999 }))
		if slices.ContainsFunc(rs, func(r result) bool { return r.Half != nil }) {
			half := func(f func(*result) float64) float64 {
				return mid(func(r *result) float64 {
					if r.Half == nil {
						return 0
					}
					return f(r.Half)
				})
			}
			add("at half of that, packets/s", half(func(r *result) float64 { return r.PacketsPerSecond }))
			add("at half of that, ms of latency, median", half(func(r *result) float64 { return r.P50 }))
			add("at half of that, ms of latency, 99 of 100", half(func(r *result) float64 { return r.P99 }))
			add("at half of that, ms of latency, 999 of 1000", half(func(r *result) float64 { return r.P999 }))
		}
		add("frames per video and second", mid(func(r *result) float64 { return r.FrameRate }))
		add("freezes", mid(func(r *result) float64 { return float64(r.Freezes) }))
		add("seconds until all are connected", mid(func(r *result) float64 { return r.Joined }))
		add("MB of memory before", mid(func(r *result) float64 { return r.MemoryBefore }))
		add("KB of memory per endpoint", mid(func(r *result) float64 { return r.MemoryPerEndpoint }))
		add("SRTP", strings.Join(rs[0].Profiles, " "))
	}
	if per["confab"] > 0 && best > 0 {
		out = append(out, figure{"confab against the best other, " + bestName, per["confab"] / best})
	}
	if per["confab"] > 0 && per["ceiling"] > 0 {
		out = append(out, figure{"confab against the ceiling", per["confab"] / per["ceiling"]})
	}
	return out
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// middle is the median of a figure over several results.
func middle(rs []result, f func(*result) float64) float64 {
	v := make([]float64, len(rs))
	for i := range rs {
		v[i] = f(&rs[i])
	}
	return median(v)
}
