package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"confab/internal/swarm"
)

// measuring says how a load is measured.
type measuring struct {
	seconds              int
	find                 bool
	serverCPU, clientCPU int
	network              netip.Prefix
	// A new rate has settle to take effect, and a server recovery after one too high.
	settle, recovery time.Duration
}

func (m *measuring) flags(fs *flag.FlagSet) {
	m.settle, m.recovery = time.Second, 3*time.Second
	fs.IntVar(&m.seconds, "seconds", 10, "length of a measurement")
	fs.BoolVar(&m.find, "find", false, "raise the rates until packets are lost, report the most without loss, and the latency at half of it")
	fs.IntVar(&m.serverCPU, "server-cpu", -1, "core to keep the servers on")
	fs.IntVar(&m.clientCPU, "client-cpu", -1, "core to keep the load generator on")
	fs.Func("network", "addresses of the clients; all of them must be local (default 127.64.0.0/10)", func(v string) (err error) {
		m.network, err = netip.ParsePrefix(v)
		return err
	})
}

func (m *measuring) pin(servers []contender) error {
	if m.clientCPU >= 0 {
		if err := pin(os.Getpid(), m.clientCPU); err != nil {
			return err
		}
	}
	if m.serverCPU < 0 {
		return nil
	}
	for _, c := range servers {
		if err := pin(c.pid, m.serverCPU); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// result is what one measurement of one server found. Packets are those of media
// that reached receivers.
type result struct {
	Endpoints, VideoStreams, AudioStreams int
	Sent, Received, Lost, Recovered       uint64
	AudioReceived, AudioLost              uint64
	Duplicate, Undecipherable, Refused    uint64
	Seconds, PacketsPerSecond, Mbps       float64
	CPUSeconds, Cores, PerCore            float64 // of the server's process, with the softirqs in its context
	CoreBusy, CoreSoftirq                 float64 // seconds of -server-cpu, whoever used it
	ClientCores                           float64
	LossPercent, MissingPercent           float64
	ShortPercent                          float64 // what the generator had no time to send
	P50, P99, P999                        float64 // ms
	Samples                               uint64
	FrameRate                             float64
	Freezes                               uint64
	FrozenSeconds, LongestAudioGap        float64
	Encodings                             [4]uint64
	Joined                                float64
	MemoryBefore, MemoryDuring            float64 // MB
	MemoryPerEndpoint                     float64 // KB
	Profiles                              []string
	Receivers                             spreadOf // packets of each receiver
	Capacity, Factor                      float64  // most packets/s without loss, and the rate it was at
	GeneratorBound                        bool     `json:",omitempty"` // it was the generator that had no time for more
	Half                                  *result  `json:",omitempty"`
	Alike                                 *result  `json:",omitempty"` // at one rate for all servers
	Steps                                 []step   `json:",omitempty"`
	Failed                                string   `json:",omitempty"` // why there is nothing of this round
}

// whole are the results of the rounds that there is something of.
func whole(rs []result) []result {
	return slices.DeleteFunc(slices.Clone(rs), func(r result) bool { return r.Failed != "" })
}

// spreadOf is how evenly receivers were served.
type spreadOf struct{ Least, Median, Most uint64 }

// step is one rate that was tried.
type step struct {
	Factor, PacketsPerSecond, PerCore, LossPercent, MissingPercent, P99 float64
	Held                                                                bool
}

// quiet is the rate of sending while rooms fill.
const quiet = 0.2

// enterTime bounds how long a room takes to fill.
const enterTime = 90 * time.Second

// run brings the load to a server, measures it and takes it away.
func (m *measuring) run(ctx context.Context, t *target, c contender, s *shape, round int) (r result, err error) {
	sw, err := swarm.New(swarm.Options{Network: m.network, Loss: s.loss, Delay: s.delay})
	if err != nil {
		return r, err
	}
	defer sw.Close()
	before, err := residentMB(c.pid)
	if err != nil {
		return r, err
	}
	sw.SetRate(quiet) // until all are there, or nobody else gets in where a server is slow
	began := time.Now()
	var all []*member
	for i := range s.rooms {
		members := s.members()
		entering, done := context.WithTimeout(ctx, enterTime)
		leave, err := c.peer.enter(entering, sw, roomName("media"+c.name, round*1000+i), members)
		done()
		if err != nil {
			return r, err
		}
		defer leave()
		all = append(all, members...)
		t.say("%s: %d of %d rooms are full after %.1f s", c.name, i+1, s.rooms, time.Since(began).Seconds())
	}
	if err := m.flowing(ctx, t, c.name, sw, s); err != nil {
		return r, err
	}
	since := time.Since(began).Seconds()
	sw.SetRate(1)
	one := func(seconds float64) (result, error) { return m.once(ctx, c, s, sw, all, seconds) }
	if !m.find {
		if err = wait(ctx, 2*time.Second); err == nil {
			r, err = one(float64(m.seconds))
		}
	} else {
		r, err = m.capacity(ctx, t, c.name, sw, one)
	}
	if err != nil {
		return r, err
	}
	r.Joined, r.MemoryBefore = since, before
	r.MemoryPerEndpoint = (r.MemoryDuring - before) * 1024 / float64(len(all))
	for _, mb := range all {
		for _, l := range mb.legs {
			if p := l.Profile(); p != "" && !slices.Contains(r.Profiles, p) {
				r.Profiles = append(r.Profiles, p)
			}
		}
	}
	return r, nil
}

// flowing waits until every receiver gets what it should.
func (m *measuring) flowing(ctx context.Context, t *target, name string, sw *swarm.Swarm, s *shape) error {
	video, audio, _ := s.streams()
	give := time.After(30 * time.Second)
	for said := time.Now(); ; {
		v, nv := sw.Sum(swarm.Video)
		_, na := sw.Sum(swarm.Audio)
		if nv >= video && na >= audio && v.KeyFrames >= uint64(min(video, nv)) {
			return nil
		}
		if time.Since(said) > time.Second {
			said = time.Now()
			t.say("%s: %d of %d videos and %d of %d audio streams flow", name, nv, video, na, audio)
		}
		select {
		case <-give:
			return fmt.Errorf("%d of %d videos and %d of %d audio streams flow", nv, video, na, audio)
		default:
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// snapshot is what is counted at one time.
type snapshot struct {
	at                 time.Time
	cpu, busy, softirq float64
	client             float64
	sent, refused      uint64
	video, audio       swarm.Stats
	videos, audios     int
	receivers          []uint64
}

func (m *measuring) snapshot(c contender, sw *swarm.Swarm, all []*member) (s snapshot, err error) {
	s.at = time.Now()
	if s.cpu, err = cpuSeconds(c.pid); err != nil {
		return s, err
	}
	if s.client, err = cpuSeconds(os.Getpid()); err != nil {
		return s, err
	}
	if m.serverCPU >= 0 {
		if s.busy, s.softirq, err = coreTimes(m.serverCPU); err != nil {
			return s, err
		}
	}
	s.sent, s.refused = sw.Sent(), sw.Refused()
	s.video, s.videos = sw.Sum(swarm.Video)
	s.audio, s.audios = sw.Sum(swarm.Audio)
	for _, mb := range all {
		if !mb.watch {
			continue
		}
		n := uint64(0)
		for _, l := range mb.legs {
			for _, st := range l.Received() {
				n += st.Packets
			}
		}
		s.receivers = append(s.receivers, n)
	}
	return s, nil
}

// once measures for some seconds at the present rate.
func (m *measuring) once(ctx context.Context, c contender, s *shape, sw *swarm.Swarm, all []*member, seconds float64) (r result, err error) {
	sw.Restart()
	a, err := m.snapshot(c, sw, all)
	if err != nil {
		return r, err
	}
	if err := wait(ctx, time.Duration(seconds*float64(time.Second))); err != nil {
		return r, err
	}
	b, err := m.snapshot(c, sw, all)
	if err != nil {
		return r, err
	}
	late := sw.Latency()
	r.Endpoints, r.VideoStreams, r.AudioStreams = len(all), b.videos, b.audios
	r.Seconds = b.at.Sub(a.at).Seconds()
	r.Sent = b.sent - a.sent
	r.Received = b.video.Packets + b.audio.Packets - a.video.Packets - a.audio.Packets
	r.Lost = b.video.Lost + b.audio.Lost - min(a.video.Lost+a.audio.Lost, b.video.Lost+b.audio.Lost)
	r.AudioReceived, r.AudioLost = b.audio.Packets-a.audio.Packets, b.audio.Lost-min(a.audio.Lost, b.audio.Lost)
	r.Recovered = b.video.Recovered - a.video.Recovered
	r.Duplicate = b.video.Duplicate + b.audio.Duplicate - a.video.Duplicate - a.audio.Duplicate
	r.Undecipherable = b.video.Broken + b.audio.Broken - a.video.Broken - a.audio.Broken
	r.Refused = b.refused - a.refused
	r.PacketsPerSecond = float64(r.Received) / r.Seconds
	r.Mbps = float64(b.video.Bytes+b.audio.Bytes-a.video.Bytes-a.audio.Bytes) * 8 / r.Seconds / 1e6
	r.CPUSeconds, r.ClientCores = b.cpu-a.cpu, (b.client-a.client)/r.Seconds
	r.Cores = r.CPUSeconds / r.Seconds
	r.PerCore = float64(r.Received) / max(r.CPUSeconds, 0.01)
	r.CoreBusy, r.CoreSoftirq = b.busy-a.busy, b.softirq-a.softirq
	r.LossPercent = 100 * float64(r.Lost) / float64(max(r.Received+r.Lost, 1))
	if _, _, fanout := s.streams(); !s.simulcast && s.lastN < 0 && s.loss == 0 {
		ideal := float64(r.Sent) * float64(fanout)
		r.MissingPercent = 100 * max(1-float64(r.Received)/max(ideal, 1), 0)
	}
	ms := func(q float64) float64 { return float64(late.Quantile(q)) / 1e6 }
	r.P50, r.P99, r.P999, r.Samples = ms(0.5), ms(0.99), ms(0.999), late.N()
	if b.videos > 0 {
		r.FrameRate = float64(b.video.Frames-a.video.Frames) / r.Seconds / float64(b.videos)
	}
	r.Freezes, r.FrozenSeconds, r.LongestAudioGap = b.video.Freezes, b.video.Frozen.Seconds(), b.audio.Longest.Seconds()
	for i := range r.Encodings {
		r.Encodings[i] = b.video.Encodings[i] - a.video.Encodings[i]
	}
	var each []uint64
	for i := range b.receivers {
		each = append(each, b.receivers[i]-a.receivers[i])
	}
	if slices.Sort(each); len(each) > 0 {
		r.Receivers = spreadOf{each[0], each[len(each)/2], each[len(each)-1]}
	}
	r.MemoryDuring, err = residentMB(c.pid)
	return r, err
}

const (
	// A rate holds if no more than these shares of the packets are lost, or did not
	// arrive in time to be counted.
	heldLoss, heldMissing = 0.1, 2.0 // of 100
	growth                = 1.6
	mostGrowth            = 1000
	bisections            = 3
)

// throttle is a load whose rate can be scaled.
type throttle interface{ SetRate(factor float64) }

// capacity raises the rate until packets are lost and narrows it down. The result
// is that of the highest rate that held.
func (m *measuring) capacity(ctx context.Context, t *target, name string, load throttle, one func(seconds float64) (result, error)) (best result, err error) {
	var steps []step
	low, high := 0.0, 0.0
	spent := false // whether it was the generator that had no time for the last rate tried
	once := func(factor float64) (r result, held bool, err error) {
		load.SetRate(factor)
		if err := wait(ctx, m.settle); err != nil {
			return r, false, err
		}
		if r, err = one(float64(m.seconds)); err != nil {
			return r, false, err
		}
		lossless := r.LossPercent <= heldLoss && r.MissingPercent <= heldMissing
		held, spent = lossless && r.ShortPercent <= heldMissing, lossless
		steps = append(steps, step{factor, r.PacketsPerSecond, r.PerCore, r.LossPercent, r.MissingPercent, r.P99, held})
		t.say("%s: rate ×%.2f: %.0f packets/s, %.0f per core, %.2f cores, %.2f of 100 lost, %.1f missing, p99 %.2f ms, generator %.2f cores",
			name, factor, r.PacketsPerSecond, r.PerCore, r.Cores, r.LossPercent, r.MissingPercent, r.P99, r.ClientCores)
		return r, held, nil
	}
	// try gives a rate a second chance, for what else the machine may have done, and
	// lets the server and its estimates of the network recover in between.
	try := func(factor float64) (r result, held bool, err error) {
		for range 2 {
			if r, held, err = once(factor); held || err != nil {
				return r, held, err
			}
			load.SetRate(max(low, 1))
			if err := wait(ctx, m.recovery); err != nil {
				return r, false, err
			}
		}
		return r, held, nil
	}
	bound := false
	for f := 1.0; f < mostGrowth; f *= growth {
		r, held, err := try(f)
		if err != nil {
			return r, err
		}
		if !held {
			high = f
			bound = spent
			break
		}
		low, best = f, r
	}
	for i := 0; i < bisections && high > 0; i++ {
		f := (low + high) / 2
		r, held, err := try(f)
		if err != nil {
			return r, err
		}
		if held {
			low, best = f, r
		} else {
			high = f
			bound = spent
		}
	}
	if low == 0 {
		return best, fmt.Errorf("packets are lost even at a rate of ×%.2f", high)
	}
	best.Capacity, best.Factor, best.GeneratorBound = best.PacketsPerSecond, low, bound
	half, _, err := try(low / 2)
	if err != nil {
		return best, err
	}
	best.Half, best.Steps = &half, steps
	return best, nil
}
