package forward

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"confab/bridge/rtpx"
)

// A round of a worker takes so many jobs, or jobs for so many packets to send.
// The more, the longer the runs that one receiver gets at once, which is what
// sending costs; but with a full round the last receiver waits for milliseconds.
const (
	roundJobs    = 256
	roundPackets = 2048
)

// housekeeping is how often a worker lets old history go.
const housekeeping = int64(250e6)

// worker does egress for the receivers pinned to it. All state of those
// receivers is touched by its goroutine only.
type worker struct {
	e     *Engine
	index int
	ring  *ring
	batch Batch

	wake   chan struct{} // one slot
	asleep atomic.Bool

	mu    sync.Mutex
	inbox []func()
	over  bool // run has ended; nothing will read the inbox

	receivers atomic.Int32
	egresses  map[*Endpoint]struct{}
	now       int64
	nextHouse int64

	held    [roundJobs]*rtpx.Packet // packets of this round
	nHeld   int
	due     []*egress // from dueAt on: the receivers of this round
	dueAt   int
	dues    int // packets to send in this round
	scratch [2048]byte
	exts    rtpx.ExtWriter
	ext1    [1]byte // data of elements while a packet is put together
	ext2    [3]byte
	dd      [256 + rtpx.DDGrowth]byte // a dependency descriptor that is written anew

	recalled [keyMemorySize + 1]*rtpx.Packet // scratch of recollect

	links   []*egress // whose network is estimated
	linked  atomic.Int32
	linksAt int64 // when they are looked after next
	hurry   bool  // a probe is being sent, or video waits for its time
	filling bool  // what is sent carries nothing new

	arrived  [roundJobs]int64 // when the media packets of this round came
	nArrived int
	transit  transit

	sent, sentBytes, retransmitted, dropped, panics atomic.Uint64
}

func newWorker(e *Engine, index int) *worker {
	w := &worker{
		e: e, index: index,
		ring:     newRing(e.cfg.RingSize),
		wake:     make(chan struct{}, 1),
		egresses: make(map[*Endpoint]struct{}),
	}
	if e.cfg.NewBatch != nil {
		w.batch = e.cfg.NewBatch()
	}
	return w
}

// run works until ctx ends, then releases what is left in the ring.
func (w *worker) run(ctx context.Context) {
	defer w.finish()
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		w.drain()
		// Say that we sleep before looking once more, so that whoever queues in
		// between sees it and wakes us.
		w.asleep.Store(true)
		if w.ring.len() > 0 || w.pending() {
			w.asleep.Store(false)
			continue
		}
		if w.hurry {
			alarm.Reset(time.Duration(probePeriod))
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			w.asleep.Store(false)
		case <-alarm.C:
			w.asleep.Store(false)
		}
	}
}

// drain does all that is queued, in batches.
func (w *worker) drain() {
	for {
		w.control()
		w.now = w.e.cfg.Now()
		n := 0
		var j job
		for n < roundJobs && w.dues < roundPackets && w.ring.pop(&j) {
			w.do(&j)
			n++
		}
		w.forwardDue()
		for i, pkt := range w.held[:w.nHeld] {
			pkt.Release()
			w.held[i] = nil
		}
		w.nHeld = 0
		n += w.lookAfterLinks()
		if w.now >= w.nextHouse {
			w.nextHouse = w.now + housekeeping
			clear(w.due[:cap(w.due)]) // who has left is not to stay in memory
			for ep := range w.egresses {
				ep.eg.expire(w.now - int64(w.e.cfg.HistoryAge))
			}
		}
		if n > 0 && w.batch != nil {
			// A socket error concerns single packets, which are lost as any other.
			_ = w.batch.Flush()
		}
		if w.nArrived > 0 {
			left := w.e.cfg.Now()
			for _, at := range w.arrived[:w.nArrived] {
				if at != 0 {
					w.transit.add(left - at)
				}
			}
			w.nArrived = 0
		}
		if n == 0 {
			return
		}
	}
}

// space is where a packet is put together.
func (w *worker) space() []byte {
	if w.batch == nil {
		return w.scratch[:]
	}
	return w.batch.Space()
}

// do does one job, or notes it for later in the round.
func (w *worker) do(j *job) {
	if j.pkt != nil {
		w.held[w.nHeld] = j.pkt
		w.nHeld++
	}
	defer w.guard()
	switch j.kind {
	case jobRTP:
		w.arrived[w.nArrived] = j.pkt.Arrived
		w.nArrived++
		w.forward(j.st, j.pkt)
	case jobSR:
		w.senderReport(j.st, j.sr)
	case jobFeedback:
		w.feedback(j.ep, j.pkt.Bytes())
	case jobRTCP:
		j.ep.eg.writeRTCP(w, j.pkt.Bytes())
	}
}

// guard, deferred, keeps a panic to the packet that it is about (architecture D21).
func (w *worker) guard() {
	if r := recover(); r != nil {
		w.panics.Add(1)
		w.e.cfg.Log.Error("egress panic", "worker", w.index, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	}
}

// push queues a job that may be dropped when the worker is behind. The caller's
// reference on the job's packet passes to the worker when it returns true.
func (w *worker) push(j job) bool {
	if !w.ring.push(j) {
		w.dropped.Add(1)
		return false
	}
	w.rouse()
	return true
}

// busy says that the ring is so full that only audio and key frames should be added.
func (w *worker) busy() bool { return w.ring.len() > w.ring.size()*3/4 }

func (w *worker) rouse() {
	if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// call runs f on the worker and waits for it. It returns at once when the
// worker has ended. f must be short.
func (w *worker) call(f func()) {
	done := make(chan struct{})
	if w.post(func() { defer close(done); f() }) {
		<-done
	}
}

// post queues f for the worker; false when it has ended.
func (w *worker) post(f func()) bool {
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return false
	}
	w.inbox = append(w.inbox, f)
	w.mu.Unlock()
	w.rouse()
	return true
}

func (w *worker) pending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.inbox) > 0
}

// control runs what control has posted.
func (w *worker) control() {
	w.mu.Lock()
	fs := w.inbox
	w.inbox = nil
	w.mu.Unlock()
	for _, f := range fs {
		f()
	}
}

// finish runs the last posts and lets all packets go.
func (w *worker) finish() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.control()
	var j job
	for w.ring.pop(&j) {
		if j.pkt != nil {
			j.pkt.Release()
		}
	}
	for ep := range w.egresses {
		ep.eg.release()
	}
}
