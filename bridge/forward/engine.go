// Package forward is the packet path of the bridge: routing tables, ingress,
// egress workers, layers, retransmission, feedback, audio levels.
//
// Who runs what:
//   - Endpoint.RTP and Endpoint.RTCP run on the goroutine that read the packet
//     and finish ingress there; the state of a sender has one uncontended lock.
//   - A fixed set of workers does egress. Every receiver is pinned to one, which
//     alone touches its projections, retransmission history and Sender.
//   - One ticker per Engine sends what is due without a packet: NACK repeats,
//     receiver reports, transport-wide feedback.
//   - All other methods are for the control goroutine of the conference. They
//     never wait for a packet, only Close waits for a worker to let go.
//
// Rules of this package:
//   - Nothing allocates, logs or waits per packet; full rings drop and count.
//   - Whoever keeps a packet retains it; every path releases it.
//   - RTCP is terminated here and never forwarded as it came.
//   - Tables and lists that readers load are immutable and swapped whole.
package forward

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

// ErrClosed is returned by methods of something that was closed.
var ErrClosed = errors.New("forward: closed")

// Batch is a worker's queue towards the sockets. The worker that got it from
// Config.NewBatch is the only one to use it.
type Batch interface {
	// Space is room for one packet, at least 1600 bytes. A Sender need not copy
	// what was put together there. It is good until the batch is used again.
	Space() []byte
	// Flush sends what is queued.
	Flush() error
}

// Sender encrypts for one receiver and queues on the batch of the calling
// worker (nil without Config.NewBatch). b is plaintext with at least 64 bytes of
// spare capacity behind it; it may be encrypted in place and must not be kept.
// Calls for one Sender never overlap.
type Sender interface {
	WriteRTP(batch Batch, b []byte) error
	WriteRTCP(batch Batch, b []byte) error
}

// Config holds the limits of the packet path. The zero value of a field means
// its default, as DefaultConfig gives it.
type Config struct {
	// Workers is the number of egress workers; default one per CPU.
	Workers int
	// RingSize is how many jobs wait for a worker before packets are dropped.
	RingSize int
	// NewBatch makes the batch of each worker; nil: Senders get a nil Batch.
	NewBatch func() Batch
	// Pool provides the buffers of RTCP that the bridge writes.
	Pool *rtpx.Pool
	// Log receives faults of the machinery, never anything per packet.
	Log *slog.Logger
	// Now is the packet clock; default rtpx.Now.
	Now func() int64
	// Tick is the period of the ticker; negative: no ticker (tests call Tick).
	Tick time.Duration

	// NackDelay is how long a gap may be reordering before it is a loss.
	NackDelay time.Duration
	// NackInterval separates repeats while the round-trip time is unknown.
	NackInterval time.Duration
	// NackTries is how often a lost packet is asked for.
	NackTries int
	// NackMaxGap is the largest gap that is asked for; a larger one is a jump.
	NackMaxGap int

	// ReportInterval separates receiver reports to a sender.
	ReportInterval time.Duration
	// FeedbackInterval separates transport-wide feedback packets, or, behind the
	// last packet of a frame, FeedbackFrameInterval.
	FeedbackInterval      time.Duration
	FeedbackFrameInterval time.Duration

	// HistorySize is how many packets per outgoing video stream can be sent
	// again (a power of two), HistoryAge for how long.
	HistorySize int
	HistoryAge  time.Duration
	// RetransmitBitrate bounds retransmission to one receiver, in bits per second.
	RetransmitBitrate int64

	// Bandwidth bounds the estimate of what the network to a receiver carries.
	Bandwidth bwe.Config
	// EstimateChange is the share by which an estimate must differ from the one
	// that was acted on to be news.
	EstimateChange float64

	// KeyframeInterval is the least time between two key frame requests for a
	// source; KeyframeMax bounds those of one receiver in KeyframeWindow.
	KeyframeInterval time.Duration
	KeyframeMax      int
	KeyframeWindow   time.Duration

	// SilencePackets is how many packets of silence in a row are forwarded;
	// negative: all.
	SilencePackets int
	// LoudestN forwards only so many loudest voices of a conference with more than
	// LoudestAbove endpoints; 0: all. The dominant speaker is always forwarded.
	LoudestN, LoudestAbove int
	// StripRED takes redundant audio apart for everybody, also for those who can
	// read it.
	StripRED bool
	// AudioPackets and AudioBitrate bound the audio of one endpoint, in packets and bits
	// per second; what is above is dropped.
	AudioPackets int
	AudioBitrate int64
	// MaxSources bounds the sources of one endpoint.
	MaxSources int
	// SlotDelay is how long nothing is sent under an SSRC of which a client was just
	// told: it has to negotiate first.
	SlotDelay time.Duration
	// MaxStreams bounds the outgoing streams of one receiver.
	MaxStreams int
}

// DefaultConfig returns the defaults (JVB's where it has the same limit).
func DefaultConfig() Config {
	return Config{
		Workers:               min(runtime.GOMAXPROCS(0), runtime.NumCPU()),
		RingSize:              4096,
		Tick:                  10 * time.Millisecond,
		NackDelay:             10 * time.Millisecond,
		NackInterval:          150 * time.Millisecond,
		NackTries:             10,
		NackMaxGap:            100,
		ReportInterval:        500 * time.Millisecond,
		FeedbackInterval:      100 * time.Millisecond,
		FeedbackFrameInterval: 20 * time.Millisecond,
		HistorySize:           512,
		HistoryAge:            1500 * time.Millisecond,
		RetransmitBitrate:     5_000_000,
		Bandwidth:             bwe.DefaultConfig(),
		EstimateChange:        0.15,
		KeyframeInterval:      200 * time.Millisecond,
		KeyframeMax:           10,
		KeyframeWindow:        10 * time.Second,
		SilencePackets:        3,
		AudioPackets:          500,
		AudioBitrate:          2_000_000,
		MaxSources:            40,
		SlotDelay:             150 * time.Millisecond,
		MaxStreams:            4096,
	}
}

// withDefaults fills zero fields.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	def(&c.Workers, d.Workers)
	def(&c.RingSize, d.RingSize)
	def(&c.Tick, d.Tick)
	def(&c.NackDelay, d.NackDelay)
	def(&c.NackInterval, d.NackInterval)
	def(&c.NackTries, d.NackTries)
	def(&c.NackMaxGap, d.NackMaxGap)
	def(&c.ReportInterval, d.ReportInterval)
	def(&c.FeedbackInterval, d.FeedbackInterval)
	def(&c.FeedbackFrameInterval, d.FeedbackFrameInterval)
	def(&c.HistorySize, d.HistorySize)
	def(&c.HistoryAge, d.HistoryAge)
	def(&c.RetransmitBitrate, d.RetransmitBitrate)
	def(&c.Bandwidth, d.Bandwidth)
	def(&c.EstimateChange, d.EstimateChange)
	def(&c.KeyframeInterval, d.KeyframeInterval)
	def(&c.KeyframeMax, d.KeyframeMax)
	def(&c.KeyframeWindow, d.KeyframeWindow)
	def(&c.SilencePackets, d.SilencePackets)
	def(&c.AudioPackets, d.AudioPackets)
	def(&c.AudioBitrate, d.AudioBitrate)
	def(&c.MaxSources, d.MaxSources)
	def(&c.SlotDelay, d.SlotDelay)
	def(&c.MaxStreams, d.MaxStreams)
	// Slots are found by sequence number, so the size must divide 65,536.
	for c.HistorySize&(c.HistorySize-1) != 0 {
		c.HistorySize &= c.HistorySize - 1
	}
	c.HistorySize = min(c.HistorySize, 1<<14)
	if c.Pool == nil {
		c.Pool = rtpx.NewPool()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = rtpx.Now
	}
	return c
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Engine is the packet machinery of the process: the workers and the ticker
// that all conferences share.
type Engine struct {
	cfg     Config
	workers []*worker
	wg      sync.WaitGroup
	stop    context.CancelFunc

	// pipelines is swapped whole, for the ticker.
	pipelines atomic.Pointer[[]*Pipeline]
	mu        sync.Mutex
	closed    bool
	gone      Stats // of endpoints that have left

	layerChanges atomic.Uint64
}

// NewEngine starts the workers and the ticker. Close ends them.
func NewEngine(cfg Config) *Engine {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	e := &Engine{cfg: cfg, stop: cancel}
	e.pipelines.Store(&[]*Pipeline{})
	for i := range cfg.Workers {
		w := newWorker(e, i)
		e.workers = append(e.workers, w)
		e.wg.Go(func() { w.run(ctx) })
	}
	if cfg.Tick > 0 {
		e.wg.Go(func() { e.ticker(ctx) })
	}
	return e
}

// Close ends the workers and the ticker and waits for them. Pipelines should be
// closed before; packets still queued are released.
func (e *Engine) Close() error {
	e.mu.Lock()
	ps := *e.pipelines.Load()
	e.closed = true
	e.mu.Unlock()
	for _, p := range ps {
		p.Close()
	}
	e.stop()
	e.wg.Wait()
	return nil
}

func (e *Engine) ticker(ctx context.Context) {
	t := time.NewTicker(e.cfg.Tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			e.Tick()
		}
	}
}

// Tick does what is due without a packet. The Engine calls it every Config.Tick.
func (e *Engine) Tick() {
	now := e.cfg.Now()
	for _, p := range *e.pipelines.Load() {
		p.tick(now)
	}
	for _, w := range e.workers {
		if w.linked.Load() > 0 {
			w.rouse()
		}
	}
}

// NewPipeline makes the packet path of one conference; name is for logs.
func (e *Engine) NewPipeline(name string) (*Pipeline, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	p := newPipeline(e, name)
	ps := append(append([]*Pipeline{}, *e.pipelines.Load()...), p)
	e.pipelines.Store(&ps)
	return p, nil
}

// forget takes a closed pipeline out of the ticker's list.
func (e *Engine) forget(p *Pipeline) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ps []*Pipeline
	for _, q := range *e.pipelines.Load() {
		if q != p {
			ps = append(ps, q)
		}
	}
	e.pipelines.Store(&ps)
}

// leastLoaded picks the worker with the fewest receivers.
func (e *Engine) leastLoaded() *worker {
	best := e.workers[0]
	for _, w := range e.workers[1:] {
		if w.receivers.Load() < best.receivers.Load() {
			best = w
		}
	}
	return best
}

// Stats sums the counters of all workers and conferences. It never goes down:
// who left is still counted.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.gone
	s.LayerChanges = e.layerChanges.Load()
	for _, w := range e.workers {
		s.addWorker(w)
	}
	for _, p := range *e.pipelines.Load() {
		s.addPipeline(p)
	}
	return s
}

// retire keeps the counters of an endpoint that relist takes off its pipeline's
// list, so that Stats finds them in one place at any time.
func (e *Engine) retire(ep *Endpoint, relist func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone.addEndpoint(ep)
	relist()
}
