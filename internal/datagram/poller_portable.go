//go:build !linux || portable

package datagram

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"time"
)

// Poller tells which of many sockets have something to read. A goroutine of each
// socket waits for its datagrams, which Reader.Read then takes.
type Poller struct {
	wake    chan struct{}
	done    chan struct{} // closed by Close
	readers sync.WaitGroup

	mu     sync.Mutex
	closed bool
	table  map[*Socket]*polled
}

type polled struct {
	v    any
	stop chan struct{} // closed by Remove
	over chan struct{} // closed when the goroutine has ended
}

// NewPoller makes a poller without sockets.
func NewPoller() (*Poller, error) {
	return &Poller{wake: make(chan struct{}, 1), done: make(chan struct{}), table: map[*Socket]*polled{}}, nil
}

// Add has Wait return v when s can be read, until Remove.
func (p *Poller) Add(s *Socket, v any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("poll udp %s: %w", s.local, net.ErrClosed)
	}
	if p.table[s] != nil {
		return fmt.Errorf("poll udp %s: %w", s.local, fs.ErrExist)
	}
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("poll udp %s: %w", s.local, errors.Join(net.ErrClosed, err))
	}
	e := &polled{v: v, stop: make(chan struct{}), over: make(chan struct{})}
	p.table[s] = e
	p.readers.Go(func() {
		defer close(e.over)
		p.read(s, e)
	})
	return nil
}

// read is the goroutine of one socket.
func (p *Poller) read(s *Socket, e *polled) {
	buf := make([]byte, maxDatagram)
	for {
		s.mu.Lock()
		full := s.full // what a poller that had the socket before has left
		s.mu.Unlock()
		if !full {
			d, err := s.read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.box, s.full = d, !s.closed
			s.mu.Unlock()
		}
		p.Wake()
		select {
		case <-s.taken:
		case <-s.done:
			return
		case <-e.stop:
			return
		case <-p.done:
			return
		}
	}
}

// Remove undoes Add: no Wait that begins to return afterwards returns the value.
func (p *Poller) Remove(s *Socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.table[s]; e != nil {
		delete(p.table, s)
		close(e.stop)
		_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // ends its read
		<-e.over
		_ = s.conn.SetReadDeadline(time.Time{})
	}
}

// Wait waits until a socket can be read, Wake is called or ms milliseconds have
// passed; -1 is for ever, 0 does not wait. It may also return before. The values of
// the sockets that are ready take the place of what ready holds. The error is
// net.ErrClosed after Close.
func (p *Poller) Wait(ms int, ready []any) ([]any, error) {
	ready, err := p.ready(ready)
	if len(ready) > 0 || err != nil || ms == 0 {
		select {
		case <-p.wake:
		default:
		}
		return ready, err
	}
	var late <-chan time.Time
	if ms > 0 {
		timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-p.wake:
	case <-late:
	case <-p.done:
	}
	return p.ready(ready)
}

func (p *Poller) ready(ready []any) ([]any, error) {
	ready = ready[:0]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ready, net.ErrClosed
	}
	for s, e := range p.table {
		s.mu.Lock()
		if s.full {
			ready = append(ready, e.v)
		}
		s.mu.Unlock()
	}
	return ready, nil
}

// Wake has a Wait that is under way, or the next one, return at once.
func (p *Poller) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Close ends Wait and forgets all sockets, which it does not close.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	close(p.done)
	for s := range p.table {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // ends its read
	}
	p.readers.Wait() // none of them needs the mutex
	for s := range p.table {
		_ = s.conn.SetReadDeadline(time.Time{})
	}
	p.table = nil
	return nil
}

// Pause rests the calling goroutine for d.
func Pause(d time.Duration) { time.Sleep(d) }
