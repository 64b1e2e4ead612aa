package net

import (
	"net"
	"sync"
	"testing"
	"time"

	"confab/test/net/link"
)

// wire is a UDP port before that of a bridge, for one client, with a link each
// way. It is what emulate is for browsers, without namespaces.
type wire struct {
	client, bridge *net.UDPConn
	began          time.Time

	mu       sync.Mutex
	peer     *net.UDPAddr // the client's address, of its last packet
	down, up *link.Link
	queued   time.Duration // the longest of down since the last ask
	passed   int           // bytes of down since the last ask
	asked    time.Time
}

// newWire makes a wire to the bridge at a port; c is towards the client.
func newWire(t *testing.T, port int, c link.Config) *wire {
	t.Helper()
	loopback := net.IPv4(127, 0, 0, 1)
	client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback})
	if err != nil {
		t.Fatal(err)
	}
	bridge, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: loopback, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{client: client, bridge: bridge, began: time.Now(), asked: time.Now()}
	w.down, w.up = link.New(c), link.New(link.Config{Delay: c.Delay})
	var wg sync.WaitGroup
	wg.Go(func() { w.carry(&wg, client, true) })
	wg.Go(func() { w.carry(&wg, bridge, false) })
	t.Cleanup(func() {
		_ = client.Close()
		_ = bridge.Close()
		wg.Wait()
	})
	return w
}

func (w *wire) port() int { return w.client.LocalAddr().(*net.UDPAddr).Port }

// change puts another link in the place of that towards the client. What is under
// way on the old one still arrives.
func (w *wire) change(c link.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = link.New(c)
}

// seen returns the longest wait in the queue and the rate towards the client in
// bit/s since the last call.
func (w *wire) seen() (queued time.Duration, rate float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	queued, rate = w.queued, float64(w.passed*8)/time.Since(w.asked).Seconds()
	w.queued, w.passed, w.asked = 0, 0, time.Now()
	return queued, rate
}

// overhead of IPv4 and UDP, which a link carries, too.
const overhead = 28

// delivery is a packet under way.
type delivery struct {
	at   time.Time
	data []byte
}

func (w *wire) carry(wg *sync.WaitGroup, from *net.UDPConn, up bool) {
	due := make(chan delivery, 1<<14) // in order, as the links don't reorder
	defer close(due)
	wg.Go(func() { w.deliver(due, up) })
	buf := make([]byte, 65536)
	for {
		n, addr, err := from.ReadFromUDP(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		l := w.down
		if up {
			w.peer, l = addr, w.up
		}
		f := l.Offer(time.Since(w.began), n+overhead)
		if !up {
			w.queued = max(w.queued, f.Queued)
			if f.Drop == link.None {
				w.passed += n + overhead
			}
		}
		w.mu.Unlock()
		if f.Drop == link.None {
			due <- delivery{w.began.Add(f.Deliver), append([]byte(nil), buf[:n]...)}
		}
	}
}

func (w *wire) deliver(due <-chan delivery, up bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for d := range due {
		timer.Reset(time.Until(d.at))
		<-timer.C
		if up {
			_, _ = w.bridge.Write(d.data) // the bridge may be gone
			continue
		}
		w.mu.Lock()
		peer := w.peer
		w.mu.Unlock()
		_, _ = w.client.WriteToUDP(d.data, peer) // set before the bridge could answer
	}
}
