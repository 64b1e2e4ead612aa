package swarm

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"math/rand/v2"
)

const (
	// sendSize is the space for a datagram that is sent, sendBatch how many go at once.
	sendSize  = 1536
	sendBatch = 64
)

// SampleEvery is how many packets of a stream come to one that is decrypted.
const SampleEvery = 32

const (
	// tick is how often feedback, checks and retransmissions are looked at; each
	// leg has its turn every ticksPerRound.
	tick          = 10 * time.Millisecond
	ticksPerRound = 5
	// idle is how long the loop rests when nothing waits. The kernel stamps what
	// arrives meanwhile, so it is in no figure.
	idle = 200 * time.Microsecond
)

// Swarm runs the endpoints.
type Swarm struct {
	sock *socket
	base uint32        // address of the network
	most int           // endpoints
	rate atomic.Uint64 // of sending, in 1/1000 of what the streams say

	mu    sync.Mutex
	posts []func()
	posted,
	closed atomic.Bool
	done chan struct{}

	// Of the goroutine.
	legs    []*Leg // by address, nil: gone
	queue   []*Outgoing
	late    Histogram
	rng     *rand.Rand
	loss    float64
	delay   time.Duration
	delayed []held
	raw     uint64         // datagrams to addresses without a leg
	plain   [sendSize]byte // of the packet that is being sent
}

// Options of a Swarm.
type Options struct {
	// Network has the endpoints' addresses; all of them must be local. The zero
	// value is 127.64.0.0/10, which is.
	Network netip.Prefix
	Loss    float64       // share of the media that receivers lose
	Delay   time.Duration // by which everything takes longer to receivers
}

// held is a datagram that is under way.
type held struct {
	at   int64
	leg  *Leg
	b    []byte
	when int64
}

// New starts a swarm.
func New(opt Options) (*Swarm, error) {
	if !opt.Network.IsValid() {
		opt.Network = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 64, 0, 0}), 10)
	}
	if !opt.Network.Addr().Is4() || opt.Network.Bits() < 8 || opt.Network.Bits() > 24 {
		return nil, fmt.Errorf("the endpoints' network %v: IPv4 with 8 to 24 bits expected", opt.Network)
	}
	sock, err := listen(true)
	if err != nil {
		return nil, err
	}
	s := &Swarm{sock: sock, done: make(chan struct{}), rng: rand.New(rand.NewPCG(1, 2)), loss: opt.Loss, delay: opt.Delay}
	base := opt.Network.Masked().Addr().As4()
	s.base, s.most = binary.BigEndian.Uint32(base[:]), 1<<(31-opt.Network.Bits())
	s.rate.Store(1000)
	go s.run()
	return s, nil
}

// Close ends everything. Legs must have been closed before, or their handshakes
// run into their timeouts.
func (s *Swarm) Close() {
	if !s.closed.Swap(true) {
		<-s.done
		s.sock.close()
	}
}

// SetRate scales the packet rate of all senders.
func (s *Swarm) SetRate(factor float64) { s.rate.Store(uint64(max(factor, 0.001) * 1000)) }

// Port is the UDP port that all legs share.
func (s *Swarm) Port() uint16 { return s.sock.port }

// Do runs f on the swarm's goroutine and waits for it.
func (s *Swarm) Do(f func()) {
	ran := make(chan struct{})
	s.post(func() {
		f()
		close(ran)
	})
	select {
	case <-ran:
	case <-s.done:
	}
}

func (s *Swarm) post(f func()) {
	s.mu.Lock()
	s.posts = append(s.posts, f)
	s.mu.Unlock()
	s.posted.Store(true)
}

// address of leg i: the addresses of the network from the first on. The upper half
// is for other measurements.
func (s *Swarm) address(i int) (a [4]byte) {
	binary.BigEndian.PutUint32(a[:], s.base+uint32(i)+1)
	return a
}

func (s *Swarm) indexOf(a [4]byte) int {
	return int(int64(binary.BigEndian.Uint32(a[:])) - int64(s.base) - 1)
}

// Addresses gives n addresses of the swarm's socket that belong to no endpoint;
// datagrams to them are only counted.
func (s *Swarm) Addresses(n int) (out []netip.AddrPort) {
	for i := range n {
		out = append(out, netip.AddrPortFrom(netip.AddrFrom4(s.address(s.most+i)), s.sock.port))
	}
	return out
}

// Strays counts the datagrams to such addresses.
func (s *Swarm) Strays() (n uint64) {
	s.Do(func() { n = s.raw })
	return n
}

func (s *Swarm) run() {
	defer close(s.done)
	round := 0
	next := time.Now().UnixNano()
	receive := s.receive
	for !s.closed.Load() {
		if s.posted.Swap(false) {
			s.mu.Lock()
			posts := s.posts
			s.posts = nil
			s.mu.Unlock()
			for _, f := range posts {
				f()
			}
		}
		now := time.Now().UnixNano()
		s.sendDue(now)
		if now >= next {
			for i := round; i < len(s.legs); i += ticksPerRound {
				if l := s.legs[i]; l != nil {
					l.turn(now)
				}
			}
			round = (round + 1) % ticksPerRound
			next = max(next+int64(tick), now)
		}
		if len(s.delayed) > 0 {
			s.release(now)
		}
		s.sock.flush()
		if s.sock.read(receive) == 0 {
			wait := idle
			if len(s.queue) > 0 {
				wait = min(wait, time.Duration(s.queue[0].due-time.Now().UnixNano()))
			}
			if wait > 10*time.Microsecond {
				rest(wait)
			}
		}
	}
}

func (s *Swarm) receive(d *datagram) {
	i := s.indexOf(d.to)
	if i < 0 || i >= len(s.legs) || s.legs[i] == nil {
		if d.segment > 0 {
			s.raw += uint64((len(d.b) + d.segment - 1) / d.segment)
		} else {
			s.raw++
		}
		return
	}
	l := s.legs[i]
	for b := d.b; len(b) > 0; {
		n := len(b)
		if d.segment > 0 {
			n = min(n, d.segment)
		}
		p := b[:n:n]
		b = b[n:]
		if p[0] >= 128 && s.loss > 0 && s.rng.Float64() < s.loss {
			continue
		}
		if s.delay > 0 {
			s.delayed = append(s.delayed, held{d.at + int64(s.delay), l, slices.Clone(p), d.at})
			continue
		}
		l.receive(p, d.from, d.at)
	}
}

// release hands over what was under way for long enough.
func (s *Swarm) release(now int64) {
	n := 0
	for n < len(s.delayed) && s.delayed[n].at <= now {
		h := s.delayed[n]
		h.leg.receive(h.b, h.leg.remote, h.at)
		n++
	}
	s.delayed = slices.Delete(s.delayed, 0, n)
}

// Latency takes the times from the sending of a sampled packet to its arrival that
// were seen since the last call.
func (s *Swarm) Latency() (h Histogram) {
	s.Do(func() {
		h = s.late
		s.late = Histogram{}
	})
	return h
}

// Refused counts datagrams that the own kernel did not take.
func (s *Swarm) Refused() (n uint64) {
	s.Do(func() { n = s.sock.refused })
	return n
}

// add gives a leg an address.
func (s *Swarm) add(l *Leg) error {
	var err error
	s.Do(func() {
		i := slices.Index(s.legs, nil)
		// An address is not used again at once: the server may still know it.
		if len(s.legs) < s.most || i < 0 {
			i = len(s.legs)
			s.legs = append(s.legs, nil)
		}
		if i >= s.most {
			err = fmt.Errorf("more than %d endpoints", s.most)
			return
		}
		s.legs[i] = l
		l.index, l.addr = i, s.address(i)
	})
	return err
}
