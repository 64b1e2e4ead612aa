package swarm

import (
	"bytes"
	"encoding/binary"

	"github.com/pion/stun/v4"
)

// This file is what a TURN client does to every packet (RFC 8656 §11, §12).

const (
	channelHeader = 4
	// sendHeader is that of STUN, a XOR-PEER-ADDRESS of IPv4 and the head of DATA.
	sendHeader = 20 + 12 + 4
	stunHeader = 20
)

var (
	sendIndication = stun.NewType(stun.MethodSend, stun.ClassIndication).Value()
	dataIndication = stun.NewType(stun.MethodData, stun.ClassIndication).Value()
)

// wrap writes what comes before and after a packet to the peer; it returns where the
// packet begins and the size of it all. Over UDP a channel's data are not padded.
func (l *lane) wrap(b []byte, size int, send bool) (head, all int) {
	a := l.a
	if !send {
		binary.BigEndian.PutUint16(b, a.channel)
		binary.BigEndian.PutUint16(b[2:], uint16(size))
		return channelHeader, channelHeader + size
	}
	all = sendHeader + size + padding(size)
	copy(b, a.head[:])
	binary.BigEndian.PutUint64(b[8:], l.sent) // of the transaction id
	clear(b[sendHeader+size : all])
	return sendHeader, all
}

// padding is what follows n bytes of an attribute (RFC 8489 §14), and of a channel
// over TCP (RFC 8656 §12.5).
func padding(n int) int { return -n & 3 }

// template is the beginning of a client's Send indications.
func (a *allocation) template(size int) {
	h := a.head[:]
	binary.BigEndian.PutUint16(h, sendIndication)
	binary.BigEndian.PutUint16(h[2:], uint16(sendHeader-stunHeader+size+padding(size)))
	binary.BigEndian.PutUint32(h[4:], 0x2112A442)
	binary.BigEndian.PutUint16(h[16:], uint16(a.index))
	binary.BigEndian.PutUint16(h[20:], uint16(stun.AttrXORPeerAddress))
	binary.BigEndian.PutUint16(h[22:], 8)
	copy(h[24:], a.peer[:])
	binary.BigEndian.PutUint16(h[32:], uint16(stun.AttrData))
	binary.BigEndian.PutUint16(h[34:], uint16(size))
}

// unwrap takes one message of the server to a client.
func (r *Relays) unwrap(a *allocation, b []byte, at int64) {
	var payload []byte
	switch {
	case len(b) < channelHeader+RelayMinSize:
	case binary.BigEndian.Uint16(b) == a.channel && !r.opt.Send:
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n == r.opt.Size && len(b) >= channelHeader+n && len(b) < channelHeader+n+4 {
			payload = b[channelHeader : channelHeader+n]
		}
	case binary.BigEndian.Uint16(b) == dataIndication && r.opt.Send:
		payload = a.data(b)
	}
	if len(payload) < RelayMinSize {
		r.flow.Foreign++
		return
	}
	r.arrived(&a.lanes[1], payload, at)
}

// data finds DATA in an indication of the right peer.
func (a *allocation) data(b []byte) (payload []byte) {
	known := false
	for rest := b[stunHeader:]; len(rest) >= 4; {
		typ, n := stun.AttrType(binary.BigEndian.Uint16(rest)), int(binary.BigEndian.Uint16(rest[2:]))
		if 4+n > len(rest) {
			return nil
		}
		switch typ {
		case stun.AttrData:
			payload = rest[4 : 4+n]
		case stun.AttrXORPeerAddress:
			known = bytes.Equal(rest[4:4+n], a.peer[:])
		}
		rest = rest[min(4+n+padding(n), len(rest)):]
	}
	if !known {
		return nil
	}
	return payload
}
