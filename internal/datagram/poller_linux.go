//go:build !portable

package datagram

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pollEvents is how many sockets one Wait returns at most; the kernel lets those
// come first the next time that did not.
const pollEvents = 128

// Poller tells which of many sockets have something to read (epoll(7), level-
// triggered: a socket that was not read empty is ready again).
type Poller struct {
	event *os.File    // eventfd(2) of Wake
	one   [8]byte     // what is written there: the number 1
	woken atomic.Bool // it was written since the last Wait

	waiting sync.Mutex // held in Wait; guards events
	events  [pollEvents]unix.EpollEvent

	mu     sync.Mutex // held for no system call that waits
	fd     int        // of epoll; closed with both mutexes held
	closed bool
	table  []polled
	free   []int32
	slots  map[any]int32 // by *Socket or *Stream
}

// polled is what events of a slot of the table mean. The turn of a slot that was
// given up tells late events of the former socket from those of the next.
type polled struct {
	v      any
	socket *Socket // nil: of a stream
	turn   int32
}

// wakeSlot is the slot of the eventfd.
const wakeSlot = -1

// NewPoller makes a poller without sockets.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	// A blocking descriptor, so that the runtime's poller leaves it alone. Writing
	// does not block unless 2^64-2 was written before.
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	p := &Poller{event: os.NewFile(uintptr(event), "eventfd"), fd: fd, slots: map[any]int32{}}
	binary.NativeEndian.PutUint64(p.one[:], 1)
	// Edge-triggered: every write is an event of its own, and nobody has to read.
	err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, event, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: wakeSlot})
	if err != nil {
		_ = unix.Close(fd)
		_ = p.event.Close()
		return nil, fmt.Errorf("poll eventfd: %w", err)
	}
	return p, nil
}

// Add has Wait return v when s can be read, until Remove. It may be called by any
// goroutine, also during Wait.
func (p *Poller) Add(s *Socket, v any) error {
	if err := p.add(s, v, s.raw.Control); err != nil {
		return fmt.Errorf("poll udp %s: %w", s.local, err)
	}
	return nil
}

// add adds what s stands for; control calls a function with its descriptor.
func (p *Poller) add(s, v any, control func(func(fd uintptr)) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	if _, known := p.slots[s]; known {
		return os.ErrExist
	}
	if len(p.free) == 0 {
		p.free = append(p.free, int32(len(p.table)))
		p.table = append(p.table, polled{})
	}
	slot := p.free[len(p.free)-1]
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: slot, Pad: p.table[slot].turn}
	var err error
	closed := control(func(fd uintptr) { err = unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, int(fd), &event) })
	if err = errors.Join(closed, err); err != nil {
		return err
	}
	p.free = p.free[:len(p.free)-1]
	p.table[slot].v = v
	p.table[slot].socket, _ = s.(*Socket)
	p.slots[s] = slot
	return nil
}

// Remove undoes Add: no Wait that begins to return afterwards returns the value.
// A socket should be removed before it is closed, or its value stays here.
func (p *Poller) Remove(s *Socket) {
	if s != nil {
		p.remove(s, s.raw.Control)
	}
}

func (p *Poller) remove(s any, control func(func(fd uintptr)) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, known := p.slots[s]
	if !known {
		return
	}
	delete(p.slots, s)
	p.table[slot] = polled{turn: p.table[slot].turn + 1}
	p.free = append(p.free, slot)
	if !p.closed {
		// The kernel has forgotten a closed descriptor by itself.
		_ = control(func(fd uintptr) { _ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, int(fd), nil) })
	}
}

// Wait waits until a socket can be read, Wake is called or ms milliseconds have
// passed; -1 is for ever, 0 does not wait. It may also return before. The values of
// the sockets that are ready take the place of what ready holds. The error is
// net.ErrClosed after Close.
func (p *Poller) Wait(ms int, ready []any) ([]any, error) {
	ready = ready[:0]
	p.waiting.Lock()
	defer p.waiting.Unlock()
	if p.fd < 0 {
		return ready, net.ErrClosed
	}
	// Not RawSyscall6: the scheduler gives the processor to others meanwhile.
	got, _, errno := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events[0])), pollEvents, uintptr(ms), 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return ready, fmt.Errorf("epoll: %w", errno)
	}
	if errno != 0 {
		got = 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ready, net.ErrClosed
	}
	for i := range p.events[:got] {
		e := &p.events[i]
		if e.Fd == wakeSlot {
			// Who calls Wake after this writes anew; who called it before finds that
			// this Wait returns.
			p.woken.Store(false)
		} else if slot := &p.table[e.Fd]; slot.turn == e.Pad {
			if e.Events&unix.EPOLLERR != 0 && slot.socket != nil {
				slot.socket.failed.Store(true)
			}
			ready = append(ready, slot.v)
		}
	}
	return ready, nil
}

// Wake has a Wait that is under way, or the next one, return at once.
func (p *Poller) Wake() {
	if !p.woken.Swap(true) {
		_, _ = p.event.Write(p.one[:]) // fails only after Close
	}
}

// Close ends Wait and forgets all sockets, which it does not close.
func (p *Poller) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	_, _ = p.event.Write(p.one[:]) // whether it was woken or not
	p.waiting.Lock()
	defer p.waiting.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	err := unix.Close(p.fd)
	p.fd = -1
	p.table, p.slots = nil, nil
	if e := p.event.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("close epoll: %w", err)
	}
	return nil
}

// Pause rests the calling goroutine for d, finer than the runtime's timers can. The
// scheduler knows, and gives the processor to others.
func Pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // an interrupted one is as good
}
