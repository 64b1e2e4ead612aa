package main

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// addressTime is how often the addresses of this machine are looked at.
const addressTime = 15 * time.Second

// machineAddresses are those of this machine, which may change while it runs: another may take
// over those of one that has failed, a provider may give it others.
type machineAddresses struct {
	list  func() map[netip.Addr]bool // nil: localAddresses
	known atomic.Pointer[map[netip.Addr]bool]
}

// has reports whether an address is one of them.
func (o *machineAddresses) has(a netip.Addr) bool {
	if o.known.Load() == nil {
		o.look()
	}
	return (*o.known.Load())[a]
}

// look reads them and reports whether they have changed. What can't be read changes nothing.
func (o *machineAddresses) look() bool {
	list := o.list
	if list == nil {
		list = localAddresses
	}
	now, old := list(), o.known.Load()
	if old != nil && (len(now) == 0 || maps.Equal(*old, now)) {
		return false
	}
	o.known.Store(&now)
	return old != nil
}

// watchAddresses has the relay know the addresses that come and go until ctx ends.
func (s *server) watchAddresses(ctx context.Context) error {
	tick := time.NewTicker(addressTime)
	defer tick.Stop()
	failed := map[netip.AddrPort]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.lookAtAddresses(failed)
		}
	}
}

// lookAtAddresses closes the ports of addresses that have come to those who are relayed, and
// answers STUN and TURN on them if they are among those of turn.listen. failed are those on
// which that was not to be had so far.
func (s *server) lookAtAddresses(failed map[netip.AddrPort]bool) {
	if s.own.look() {
		s.relay.Judge()
	}
	if !s.cfg.TURN.UDP || s.cfg.TURN.Port == 0 {
		return
	}
	for _, ap := range concrete(s.turnListen(), *s.own.known.Load()) {
		switch err := s.relay.ListenUDP(ap); {
		case err == nil:
			delete(failed, ap)
		case errors.Is(err, net.ErrClosed): // the server ends
		case !failed[ap]: // of IPv6 it may take seconds until it is to be had
			failed[ap] = true
			s.logs.of("turn").Warn("address not listened on", "address", ap, "err", err)
		}
	}
}
