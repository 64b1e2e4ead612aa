package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"confab/internal/swarm"
)

// relaying is the load on TURN servers, the same for all.
type relaying struct {
	swarm.RelayOptions
	direction string
	rate      float64
}

func (l *relaying) flags(fs *flag.FlagSet) {
	fs.IntVar(&l.Allocations, "allocations", 50, "clients with an allocation each")
	fs.IntVar(&l.Size, "size", 1200, "bytes that are relayed in a packet")
	fs.StringVar(&l.direction, "direction", "both", "up: clients to peers; down: peers to clients; both")
	fs.StringVar(&l.Transport, "transport", "udp", "how clients come: udp, tcp or tls")
	fs.BoolVar(&l.Send, "send", false, "Send and Data indications instead of channels")
	fs.IntVar(&l.Run, "run", 1, "packets of an allocation in a row")
	fs.DurationVar(&l.Slot, "slot", 0, "instead, as many as are due of it in that time (libwebrtc's pacer: 5ms)")
	fs.BoolVar(&l.Segment, "segment", false, "hand such a run to the kernel as one, and take those of the server so (UDP_SEGMENT, UDP_GRO)")
	fs.Float64Var(&l.rate, "rate", 10_000, "packets/s of all allocations together; with -find, the lowest")
	fs.StringVar(&l.Secret, "secret", "", "shared secret of the credentials")
}

func (l *relaying) check() error {
	l.Up, l.Down = l.direction != "down", l.direction != "up"
	switch {
	case !slices.Contains([]string{"up", "down", "both"}, l.direction):
		return fmt.Errorf("-direction %s: up, down or both expected", l.direction)
	case !slices.Contains([]string{"udp", "tcp", "tls"}, l.Transport):
		return fmt.Errorf("-transport %s: udp, tcp or tls expected", l.Transport)
	case l.Secret == "":
		return errors.New("-secret is needed")
	case l.rate < 1 || l.rate > 1e6:
		return errors.New("-rate must be 1 to 1000000")
	}
	return errors.Join(bounded("allocations", l.Allocations, 1, 4000), bounded("size", l.Size, swarm.RelayMinSize, 1200), bounded("run", l.Run, 1, 64), bounded("slot", int(l.Slot/time.Millisecond), 0, 100))
}

// turnServer is a TURN server under comparison.
type turnServer struct {
	name    string
	address netip.AddrPort
	pid     int
	program string // what it says of itself
}

// turnServers are those named on the command line.
type turnServers struct {
	confab, coturn string
	coturnPID      int
}

func (p *turnServers) flags(fs *flag.FlagSet) {
	fs.StringVar(&p.confab, "turn", "", "address and port of Confab's relay for that transport")
	fs.StringVar(&p.coturn, "coturn", "", "address and port of a coturn on this machine")
	fs.IntVar(&p.coturnPID, "coturn-pid", 0, "its process")
}

func (p *turnServers) list(t *target) (out []turnServer, err error) {
	for _, s := range []struct {
		name, address string
		pid           int
	}{{"confab", p.confab, t.pid}, {"coturn", p.coturn, p.coturnPID}} {
		if s.address == "" {
			continue
		}
		at, err := netip.ParseAddrPort(s.address)
		if err != nil {
			return nil, err
		}
		if s.pid == 0 {
			return nil, fmt.Errorf("the process of %s is needed", s.name)
		}
		out = append(out, turnServer{name: s.name, address: at, pid: s.pid})
	}
	if len(out) == 0 {
		return nil, errors.New("a server is needed: -turn, -coturn")
	}
	return out, nil
}

// turn loads TURN servers, in turn, with the same packets from the same sockets.
func turn(ctx context.Context, args []string) error {
	var t target
	var l relaying
	var p turnServers
	var m measuring
	fs := t.flags("turn")
	l.flags(fs)
	p.flags(fs)
	m.flags(fs)
	// Nothing of a relay has to settle but its queues.
	m.settle, m.recovery = 0, 200*time.Millisecond
	rounds := fs.Int("rounds", 1, "measurements of each server, in turn; medians are reported")
	out := fs.String("out", "", "file for everything measured, as JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := errors.Join(l.check(), bounded("rounds", *rounds, 1, 100), bounded("seconds", m.seconds, 1, 60)); err != nil {
		return err
	}
	l.Network = m.network
	servers, err := p.list(&t)
	if err != nil {
		return err
	}
	var pinned []contender
	for _, s := range servers {
		pinned = append(pinned, contender{name: s.name, pid: s.pid})
	}
	if err := m.pin(pinned); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	file := turnFile{Kind: "turn", Date: time.Now().UTC().Format(time.RFC3339), Arguments: args, Results: map[string][]result{}}
	file.Allocations, file.Size, file.Direction, file.Transport, file.Send, file.Run, file.Slot, file.Segment =
		l.Allocations, l.Size, l.direction, l.Transport, l.Send, l.Run, l.Slot, l.Segment
	for range *rounds {
		if err := l.round(ctx, &t, &m, servers, file.Results); err != nil {
			return err
		}
		// They take turns in who is first, too.
		servers = append(servers[1:], servers[0])
	}
	if *out != "" {
		b, err := json.MarshalIndent(file, "", "  ")
		if err == nil {
			err = os.WriteFile(*out, append(b, '\n'), 0o600)
		}
		if err != nil {
			return err
		}
	}
	return t.report(file.figures())
}

// load is the allocations on one server, at a rate.
type load struct {
	*swarm.Relays
	s     turnServer
	l     *relaying
	m     *measuring
	rate  float64
	found result
}

// SetRate is throttle.
func (a *load) SetRate(factor float64) { a.rate = a.l.rate * factor }

// round measures every server once. Their allocations stay until the end of it, when
// all have half of what the slowest could do.
func (l *relaying) round(ctx context.Context, t *target, m *measuring, servers []turnServer, all map[string][]result) (err error) {
	var loads []*load
	defer func() {
		for _, a := range loads {
			err = errors.Join(err, a.Close(ctx))
		}
	}()
	slowest := 0.0
	for _, s := range servers {
		a, err := l.open(ctx, m, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		loads = append(loads, a)
		before := a.found
		if m.find {
			a.found, err = m.capacity(ctx, t, s.name, a, func(seconds float64) (result, error) { return a.once(ctx, seconds) })
		} else {
			a.found, err = a.once(ctx, float64(m.seconds))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		r := &a.found
		r.MemoryBefore, r.Joined, r.Profiles = before.MemoryBefore, before.Joined, before.Profiles
		if r.MemoryDuring, err = residentMB(s.pid); err != nil {
			return err
		}
		r.MemoryPerEndpoint = (r.MemoryDuring - r.MemoryBefore) * 1024 / float64(l.Allocations)
		if slowest == 0 || r.Factor < slowest {
			slowest = r.Factor
		}
	}
	for _, a := range loads {
		if slowest > 0 && len(loads) > 1 {
			a.SetRate(slowest / 2)
			alike, err := a.once(ctx, float64(m.seconds))
			if err != nil {
				return fmt.Errorf("%s: %w", a.s.name, err)
			}
			a.found.Alike = &alike
		}
		all[a.s.name] = append(all[a.s.name], a.found)
	}
	return nil
}

// open makes the allocations, and notes what they take.
func (l *relaying) open(ctx context.Context, m *measuring, s turnServer) (*load, error) {
	before, err := residentMB(s.pid)
	if err != nil {
		return nil, err
	}
	opt := l.RelayOptions
	opt.Server = s.address
	r, err := swarm.NewRelays(opt)
	if err != nil {
		return nil, err
	}
	a := &load{Relays: r, s: s, l: l, m: m, rate: l.rate}
	began := time.Now()
	if err := r.Open(ctx); err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	a.found = result{MemoryBefore: before, Joined: time.Since(began).Seconds()}
	if c := r.Cipher(); c != "" {
		a.found.Profiles = []string{c}
	}
	return a, nil
}

// warming up is not measured.
const warming = 150 * time.Millisecond

// once measures for some seconds at the present rate.
func (a *load) once(ctx context.Context, seconds float64) (r result, err error) {
	type snapshot struct{ cpu, client, busy, softirq float64 }
	var marks []snapshot
	f, err := a.Run(ctx, a.rate, warming, time.Duration(seconds*float64(time.Second)), func() error {
		var s snapshot
		var errs [3]error
		s.cpu, errs[0] = cpuSeconds(a.s.pid)
		s.client, errs[1] = cpuSeconds(os.Getpid())
		if a.m.serverCPU >= 0 {
			s.busy, s.softirq, errs[2] = coreTimes(a.m.serverCPU)
		}
		marks = append(marks, s)
		return errors.Join(errs[:]...)
	})
	if err != nil {
		return r, err
	}
	from, to := marks[0], marks[len(marks)-1]
	share := func(missing, of uint64) float64 { return 100 * float64(missing) / float64(max(of, 1)) }
	r.Endpoints, r.Seconds = a.l.Allocations, f.Seconds
	r.Sent, r.Received, r.Lost = f.Sent, f.Received, f.AllSent-min(f.AllReceived, f.AllSent)
	r.Duplicate, r.Undecipherable, r.Refused = f.Duplicate, f.Foreign, f.Refused
	r.PacketsPerSecond = float64(f.Received) / f.Seconds
	r.Mbps = r.PacketsPerSecond * float64(a.l.Size) * 8 / 1e6
	r.CPUSeconds, r.ClientCores = to.cpu-from.cpu, (to.client-from.client)/f.Seconds
	r.Cores = r.CPUSeconds / f.Seconds
	r.PerCore = float64(f.Received) / max(r.CPUSeconds, 0.01)
	r.CoreBusy, r.CoreSoftirq = to.busy-from.busy, to.softirq-from.softirq
	r.LossPercent = share(r.Lost, f.AllSent)
	r.MissingPercent = share(f.Sent+f.Refused-min(f.Received, f.Sent+f.Refused), f.Sent+f.Refused)
	r.ShortPercent = share(f.Due-min(f.Sent+f.Refused, f.Due), f.Due)
	ms := func(q float64) float64 { return float64(f.Late.Quantile(q)) / 1e6 }
	r.P50, r.P99, r.P999, r.Samples = ms(0.5), ms(0.99), ms(0.999), f.Late.N()
	if f.Foreign > 0 || f.Duplicate > 0 {
		return r, fmt.Errorf("%d packets arrived that had not been sent so, %d twice", f.Foreign, f.Duplicate)
	}
	return r, nil
}

// turnFile is what turn writes with -out.
type turnFile struct {
	Kind                 string
	Date                 string
	Arguments            []string
	Allocations, Size    int
	Direction, Transport string
	Send                 bool
	Run                  int
	Slot                 time.Duration
	Segment              bool
	Results              map[string][]result
}

// mid is the median of the rounds of a server.
func (f *turnFile) mid(server string, of func(*result) float64) float64 {
	var v []float64
	for i := range f.Results[server] {
		v = append(v, of(&f.Results[server][i]))
	}
	return median(v)
}

// part is of a result that may not have it.
func part(of func(*result) *result, f func(*result) float64) func(*result) float64 {
	return func(r *result) float64 {
		if p := of(r); p != nil {
			return f(p)
		}
		return 0
	}
}

func half(r *result) *result  { return r.Half }
func alike(r *result) *result { return r.Alike }

func perCore(r *result) float64   { return r.PerCore }
func perSecond(r *result) float64 { return r.PacketsPerSecond }
func p50(r *result) float64       { return r.P50 }
func p99(r *result) float64       { return r.P99 }

// memory per allocation is that of the first round: later ones find the memory of the
// earlier ones still there.
func (f *turnFile) memory(server string) float64 {
	if rs := f.Results[server]; len(rs) > 0 {
		return rs[0].MemoryPerEndpoint
	}
	return 0
}

func (f *turnFile) figures() (out []figure) {
	for _, name := range turnNames {
		rs := f.Results[name]
		if len(rs) == 0 {
			continue
		}
		add := func(what string, v any) { out = append(out, figure{name + ": " + what, v}) }
		add("packets relayed per second of a core", f.mid(name, perCore))
		add("packets/s", f.mid(name, perSecond))
		add("cores used", f.mid(name, func(r *result) float64 { return r.Cores }))
		add("cores of the generator", f.mid(name, func(r *result) float64 { return r.ClientCores }))
		add("lost of 100", f.mid(name, func(r *result) float64 { return r.LossPercent }))
		add("not sent of 100", f.mid(name, func(r *result) float64 { return r.ShortPercent }))
		add("ms of latency, median", f.mid(name, p50))
		add("ms of latency, 99 of 100", f.mid(name, p99))
		if rs[0].Capacity > 0 {
			add("at half of that, ms of latency, median", f.mid(name, part(half, p50)))
			add("at half of that, ms of latency, 99 of 100", f.mid(name, part(half, p99)))
		}
		if rs[0].Alike != nil {
			add("at half of the slowest one's rate, packets/s", f.mid(name, part(alike, perSecond)))
			add("at half of the slowest one's rate, packets per second of a core", f.mid(name, part(alike, perCore)))
			add("at half of the slowest one's rate, ms of latency, median", f.mid(name, part(alike, p50)))
			add("at half of the slowest one's rate, ms of latency, 99 of 100", f.mid(name, part(alike, p99)))
		}
		add("seconds until all are allocated", f.mid(name, func(r *result) float64 { return r.Joined }))
		add("MB of memory before", rs[0].MemoryBefore)
		add("KB of memory per allocation", f.memory(name))
		if p := rs[0].Profiles; len(p) > 0 {
			add("TLS", strings.Join(p, " "))
		}
	}
	if other := f.mid("coturn", perCore); other > 0 && len(f.Results["confab"]) > 0 {
		out = append(out, figure{"confab against coturn, per core", f.mid("confab", perCore) / other})
	}
	return out
}

// turnNames are the servers in the order of the tables.
var turnNames = []string{"confab", "coturn"}
