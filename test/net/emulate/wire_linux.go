package main

import (
	"container/heap"
	"log"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"confab/test/net/link"
)

// wire carries packets one way: a reader that asks the model for each packet's
// fate, and a writer that waits until packets are due.
type wire struct {
	name     string
	from, to *os.File
	link     *link.Link
	clock    *clock
	log      chan<- logLine

	mu     sync.Mutex
	due    deliveries
	number int
	arrive chan struct{}
}

type delivery struct {
	at     time.Duration // of the monotonic clock, since started
	number int           // keeps what is due together in order
	data   []byte
}

func (w *wire) start(wg *sync.WaitGroup) {
	w.arrive = make(chan struct{}, 1)
	wg.Go(w.read)
	wg.Go(w.write)
}

func (w *wire) read() {
	defer close(w.arrive)
	buf := make([]byte, 65536)
	for {
		n, err := w.from.Read(buf)
		if err != nil {
			if !isOver(err) {
				log.Printf("%s: reading: %v", w.name, err)
			}
			return
		}
		arrived := time.Now()
		now := w.clock.now()
		fate := w.link.Offer(now, n)
		line := logLine{at: arrived, wire: w.name, size: n, fate: fate, packet: classify(buf[:n])}
		if fate.Drop == link.None {
			line.transit = fate.Deliver - now
			w.mu.Lock()
			w.number++
			heap.Push(&w.due, delivery{arrived.Sub(started) + line.transit, w.number, append([]byte(nil), buf[:n]...)})
			w.mu.Unlock()
			select {
			case w.arrive <- struct{}{}:
			default:
			}
		}
		w.log <- line
	}
}

// nap bounds the sleep of the writer, as what arrives meanwhile may be due earlier.
const nap = time.Millisecond

// write sleeps on a thread of its own: the runtime's timers are only as good as a
// millisecond when nothing else happens, and at 5 Mbit/s packets are 2 ms apart.
func (w *wire) write() {
	runtime.LockOSThread()
	for {
		w.mu.Lock()
		var first delivery
		waiting := len(w.due) > 0
		if waiting {
			first = w.due[0]
		}
		wait := first.at - time.Since(started)
		if waiting && wait <= 0 {
			heap.Pop(&w.due)
		}
		w.mu.Unlock()
		switch {
		case !waiting:
			if _, open := <-w.arrive; !open {
				return
			}
		case wait > 0:
			ts := unix.NsecToTimespec(int64(min(wait, nap)))
			_ = unix.Nanosleep(&ts, nil)
		default:
			if _, err := w.to.Write(first.data); err != nil {
				if isOver(err) {
					return
				}
				log.Printf("%s: writing: %v", w.name, err)
			}
		}
	}
}

// deliveries is a heap by the time at which they are due.
type deliveries []delivery

func (d deliveries) Len() int      { return len(d) }
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d deliveries) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].number < d[j].number
}
func (d *deliveries) Push(x any) { *d = append(*d, x.(delivery)) }
func (d *deliveries) Pop() any {
	last := (*d)[len(*d)-1]
	(*d)[len(*d)-1].data = nil
	*d = (*d)[:len(*d)-1]
	return last
}
