package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"time"

	"confab/internal/swarm"
)

// blasted is what a run of blast says.
type blasted struct {
	Packets    uint64
	CPUSeconds float64
	Seconds    float64
}

// blast is the sender of the ceiling: a process of its own, so that it can have the
// servers' core and its CPU time be told.
func blast(_ context.Context, args []string) error {
	var t target
	fs := t.flags("blast")
	first := fs.String("to", "", "first address and port")
	n := fs.Int("addresses", 50, "how many, from that one on")
	size := fs.Int("size", 1200, "bytes of a packet")
	run := fs.Int("run", 1, "packets to each address in a row")
	seconds := fs.Float64("seconds", 3, "how long")
	cpu := fs.Int("cpu", -1, "core to keep to")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := errors.Join(bounded("addresses", *n, 1, 20_000), bounded("size", *size, 60, 1200), bounded("run", *run, 1, 64)); err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(*first)
	if err != nil {
		return err
	}
	all := make([]netip.AddrPort, *n)
	for i := range all {
		all[i] = to
		to = netip.AddrPortFrom(to.Addr().Next(), to.Port())
	}
	if *cpu >= 0 {
		if err := pin(os.Getpid(), *cpu); err != nil {
			return err
		}
	}
	before, err := cpuSeconds(os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	packets, err := swarm.Blast(all, *size, *run, time.Duration(*seconds*float64(time.Second)))
	if err != nil {
		return err
	}
	after, err := cpuSeconds(os.Getpid())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(blasted{packets, after - before, time.Since(began).Seconds()})
}

// ceiling measures what it costs at least to encrypt the packets of a load and to
// send them to as many addresses, in runs as long as its senders' bursts at a rate.
func (m *measuring) ceiling(ctx context.Context, t *target, s *shape, factor float64) (r result, err error) {
	sw, err := swarm.New(swarm.Options{Network: m.network})
	if err != nil {
		return r, err
	}
	defer sw.Close()
	program, err := os.Executable()
	if err != nil {
		return r, err
	}
	size, run := s.audioSize, 1
	if s.video {
		size, run = s.size, swarm.Burst(float64(s.rate)*factor, s.fps)
	}
	// Nothing is gained from more addresses than a server has receivers at a time.
	receivers := s.rooms * s.people
	out, err := exec.CommandContext(ctx, program, "blast", "-to", sw.Addresses(1)[0].String(), "-addresses", strconv.Itoa(receivers),
		"-size", strconv.Itoa(size), "-run", strconv.Itoa(run), "-seconds", strconv.Itoa(m.seconds), "-cpu", strconv.Itoa(m.serverCPU)).Output()
	if err != nil {
		return r, fmt.Errorf("blast: %w", err)
	}
	var b blasted
	if err := json.Unmarshal(out, &b); err != nil {
		return r, err
	}
	got := sw.Strays()
	r.Sent, r.Received, r.Seconds, r.CPUSeconds = b.Packets, got, b.Seconds, b.CPUSeconds
	r.PacketsPerSecond, r.Cores = float64(b.Packets)/b.Seconds, b.CPUSeconds/b.Seconds
	r.PerCore = float64(b.Packets) / math.Max(b.CPUSeconds, 0.01)
	r.LossPercent = 100 * (1 - float64(got)/float64(b.Packets))
	t.say("ceiling: runs of %d packets of %d bytes to %d addresses: %.0f packets/s of a core, %.1f of 100 not counted at the other end", run, size, receivers, r.PerCore, r.LossPercent)
	return r, nil
}
