package transport

import (
	"fmt"
	"net/netip"

	"confab/internal/datagram"
)

// Foreign takes what comes to the media port for somebody else: with
// turn.share_media_port, for a TURN server (turn.md §11). That is STUN which is no
// ICE check of ours, and ChannelData; responses, DTLS and media never are.
//
// A reader is a goroutine of Sockets: its calls come one after the other, those of
// different readers at a time. What a client sends reaches one reader, always the
// same. The methods must not wait. They may be called until Sockets.Close returns.
type Foreign interface {
	// Datagram takes b, which is good until it returns.
	Datagram(reader int, b []byte, src, local netip.AddrPort)
	// Flush follows when the reader has no more datagrams at hand, if there were any
	// of Datagram's.
	Flush(reader int)
}

// SetForeign has f take what is not ours. Call it once. To answer, f sends from the
// local address with a socket of Outlets.
func (s *Sockets) SetForeign(f Foreign) { s.foreign.Store(&f) }

// Readers is how many readers there are; Foreign gets their numbers from 0 on.
func (s *Sockets) Readers() (n int) {
	for _, l := range s.locals {
		n += len(l.sockets)
	}
	return n
}

// Outlets opens n sockets for each of Locals that send from there and take nothing of
// what arrives. Close of s closes them, nobody else may. Where an address can't be
// shared they are the one that reads.
func (s *Sockets) Outlets(n int) (map[netip.AddrPort][]*datagram.Socket, error) {
	out := map[netip.AddrPort][]*datagram.Socket{}
	for _, l := range s.locals {
		for range n {
			o, err := s.outlet(l)
			if err != nil {
				return nil, err
			}
			out[l.addr] = append(out[l.addr], o)
		}
	}
	return out, nil
}

// outlet opens a socket that only sends, and which Close closes.
func (s *Sockets) outlet(l *local) (*datagram.Socket, error) {
	if !datagram.CanShare {
		return l.sockets[0], nil
	}
	o, err := l.openOutlet(s.cfg.SocketBuffer)
	if err == nil {
		err = s.own(o)
	}
	if err != nil {
		return nil, fmt.Errorf("socket to send from %s: %w", l.addr, err)
	}
	return o, nil
}
