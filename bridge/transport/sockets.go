package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pion/dtls/v3"

	"confab/internal/datagram"
)

// ErrClosed is returned by everything after Close.
var ErrClosed = errors.New("transport is closed")

// Sockets is the UDP port that all endpoints share.
type Sockets struct {
	cfg      Config
	log      *slog.Logger
	locals   []*local
	loopback bool // every local address is loopback, so clients' may be too
	profiles []dtls.SRTPProtectionProfile
	certs    certificates

	known   map[netip.AddrPort]*local // by the addresses under which clients may know them
	relay   atomic.Pointer[relayHook]
	foreign atomic.Pointer[Foreign]

	addrs        addrTable
	transactions transactions
	offered      offered
	drops        drops
	restarts     restartCounters
	fromRelay    atomic.Uint64 // packets
	panics       atomic.Uint64 // of handlers

	channelsRejected atomic.Uint64
	readers          sync.WaitGroup

	mu         sync.RWMutex
	ufrags     map[string]*agent
	transports map[*Transport]struct{}
	outlets    []*datagram.Socket
	batches    []*Batch
	closed     bool
}

// offered is the candidate list with and without private addresses.
type offered struct{ all, public []Candidate }

// drops counts datagrams that reached no transport, by reason.
type drops struct {
	oversize, garbage, strangers, unknownUfrag, unauthenticated, queueFull atomic.Uint64
}

// Listen opens the sockets and starts their readers.
func Listen(cfg Config, log *slog.Logger) (*Sockets, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("bridge transport: %w", err)
	}
	mappings, addrs, err := plan(&cfg)
	if err != nil {
		return nil, fmt.Errorf("bridge transport: %w", err)
	}
	s := &Sockets{
		cfg:          cfg,
		log:          log,
		certs:        certificates{lifetime: cfg.CertificateLifetime},
		transactions: transactions{m: map[transactionID]transaction{}},
		ufrags:       map[string]*agent{},
		transports:   map[*Transport]struct{}{},
	}
	s.profiles, _ = cfg.profiles() // complete has checked them
	if s.locals, err = s.open(addrs); err != nil {
		return nil, fmt.Errorf("bridge transport: %w", err)
	}
	s.loopback = !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !a.IsLoopback() })
	s.offer(mappings)
	s.know()
	index := 0
	for _, l := range s.locals {
		for _, k := range l.sockets {
			reader := index
			s.readers.Go(func() { s.run(reader, k, l) })
			index++
		}
	}
	log.Info("media port open", "port", s.Port(), "locals", addrs, "sockets", cfg.Sockets)
	return s, nil
}

// open opens every address on one port. A free port of the first address may
// be taken on another, so a few are tried when the port is ours to choose.
func (s *Sockets) open(addrs []netip.Addr) ([]*local, error) {
	const attempts = 8
	var err error
	for range attempts {
		port := uint16(s.cfg.Port)
		var locals []*local
		for i, a := range addrs {
			var l *local
			l, err = openLocal(i, netip.AddrPortFrom(a, port), s.cfg.Sockets, s.cfg.SocketBuffer, s.log)
			if err != nil {
				break
			}
			locals, port = append(locals, l), l.addr.Port()
		}
		if err == nil {
			return locals, nil
		}
		for _, l := range locals {
			err = errors.Join(err, l.close())
		}
		if s.cfg.Port != 0 {
			break
		}
	}
	return nil, err
}

func (s *Sockets) offer(mappings []mapping) {
	var locals []netip.AddrPort
	for _, l := range s.locals {
		locals = append(locals, l.addr)
	}
	s.offered = offered{
		all:    candidates(locals, mappings, true),
		public: candidates(locals, mappings, s.cfg.AdvertisePrivate),
	}
}

// Port is the UDP port of all sockets.
func (s *Sockets) Port() int { return int(s.locals[0].addr.Port()) }

// Locals are the local addresses listened on.
func (s *Sockets) Locals() []netip.AddrPort {
	out := make([]netip.AddrPort, len(s.locals))
	for i, l := range s.locals {
		out[i] = l.addr
	}
	return out
}

// Candidates is what a new transport offers.
func (s *Sockets) Candidates() []Candidate { return slices.Clone(s.offered.public) }

// Now is the clock of Packet.Arrived.
func (s *Sockets) Now() int64 { return s.cfg.Clock() }

// own has Close close o.
func (s *Sockets) own(o *datagram.Socket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(ErrClosed, o.Close())
	}
	s.outlets = append(s.outlets, o)
	return nil
}

// Close closes every transport, then the sockets, and waits for the readers.
func (s *Sockets) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.readers.Wait()
		return nil
	}
	s.closed = true
	open := make([]*Transport, 0, len(s.transports))
	for t := range s.transports {
		open = append(open, t)
	}
	s.mu.Unlock()
	var errs []error
	for _, t := range open {
		errs = append(errs, t.Close())
	}
	for _, l := range s.locals {
		errs = append(errs, l.close())
	}
	for _, o := range s.outlets {
		errs = append(errs, o.Close())
	}
	s.readers.Wait()
	return errors.Join(errs...)
}
