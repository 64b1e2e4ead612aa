// Package stun reads and writes STUN messages (RFC 8489) and the ChannelData
// messages of TURN (RFC 8656 §12.4) in place: a server looks at every message that
// strangers send it, so nothing that is read is copied, and nothing allocates but a
// Builder whose buffer has to grow.
package stun

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

const (
	// HeaderSize is that of a STUN message, ChannelHeaderSize that of ChannelData.
	HeaderSize        = 20
	ChannelHeaderSize = 4

	cookie         = 0x2112A442 // RFC 8489 §5
	fingerprintXOR = 0x5354554e // RFC 8489 §14.7
	integritySize  = sha1.Size
	attributeSize  = 4 // the header of one
)

// ID is a transaction id.
type ID [12]byte

// Message is a message whose header and attributes lie within its bytes.
type Message []byte

// IsMessage reports whether b can be a STUN message: the cookie keeps clients of
// RFC 3489 out.
func IsMessage(b []byte) bool {
	return len(b) >= HeaderSize && b[0]&0xc0 == 0 && binary.BigEndian.Uint32(b[4:]) == cookie
}

// Parse checks the frame of a message: that its length is that of b, and that its
// attributes end where it ends.
func Parse(b []byte) (Message, bool) {
	if !IsMessage(b) || len(b)%4 != 0 || len(b) != HeaderSize+int(binary.BigEndian.Uint16(b[2:])) {
		return nil, false
	}
	for at := HeaderSize; at < len(b); {
		if len(b)-at < attributeSize {
			return nil, false
		}
		at += attributeSize + padded(int(binary.BigEndian.Uint16(b[at+2:])))
		if at > len(b) {
			return nil, false
		}
	}
	return Message(b), true
}

func padded(n int) int { return (n + 3) &^ 3 }

// Type is method and class, as on the wire.
func (m Message) Type() uint16 { return binary.BigEndian.Uint16(m) }

// Method is the type without its class (RFC 8489 §5).
func (m Message) Method() uint16 { return m.Type() &^ classMask }

// Class is Request, Indication, Success or Error.
func (m Message) Class() uint16 { return m.Type() & classMask }

// ID is the transaction id.
func (m Message) ID() ID { return ID(m[8:HeaderSize]) }

// next returns the attribute at offset at and the offset of the one behind it; at
// is that of an attribute of a parsed message.
func (m Message) next(at int) (kind uint16, value []byte, after int) {
	n := int(binary.BigEndian.Uint16(m[at+2:]))
	value = m[at+attributeSize : at+attributeSize+n : at+attributeSize+n]
	return binary.BigEndian.Uint16(m[at:]), value, at + attributeSize + padded(n)
}

// Get returns the first attribute of a kind. What stands behind MESSAGE-INTEGRITY is
// signed by nobody and not found, but for FINGERPRINT (RFC 8489 §14.5).
func (m Message) Get(kind uint16) (value []byte, ok bool) {
	for at := HeaderSize; at < len(m); {
		k, v, after := m.next(at)
		if k == kind {
			return v, true
		}
		if k == AttrMessageIntegrity && kind != AttrFingerprint {
			return nil, false
		}
		at = after
	}
	return nil, false
}

// Has reports whether there is such an attribute.
func (m Message) Has(kind uint16) bool {
	_, ok := m.Get(kind)
	return ok
}

// Uint32 is the value of an attribute of four bytes.
func (m Message) Uint32(kind uint16) (v uint32, ok bool) {
	b, ok := m.Get(kind)
	if !ok || len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// Each calls f with every attribute that the signature covers, until f says no.
func (m Message) Each(f func(kind uint16, value []byte) bool) {
	for at := HeaderSize; at < len(m); {
		k, v, after := m.next(at)
		if k == AttrMessageIntegrity || !f(k, v) {
			return
		}
		at = after
	}
}

// Unknown appends to list the attributes that have to be understood (below 0x8000)
// and are not known to this package.
func (m Message) Unknown(list []uint16) []uint16 {
	for at := HeaderSize; at < len(m); {
		k, _, after := m.next(at)
		if k == AttrMessageIntegrity {
			break
		}
		if k < 0x8000 && !known(k) && len(list) < maxUnknown {
			list = append(list, k)
		}
		at = after
	}
	return list
}

// maxUnknown bounds the list that a 420 carries.
const maxUnknown = 16

// Address decodes the value of an attribute of kind XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
func (m Message) Address(value []byte) (netip.AddrPort, bool) {
	if len(value) < 4 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(value[2:]) ^ cookie>>16
	switch {
	case value[1] == FamilyIPv4 && len(value) == 8:
		var a [4]byte
		for i := range a {
			a[i] = value[4+i] ^ m[4+i]
		}
		return netip.AddrPortFrom(netip.AddrFrom4(a), port), true
	case value[1] == FamilyIPv6 && len(value) == 20:
		var a [16]byte
		for i := range a {
			a[i] = value[4+i] ^ m[4+i] // cookie and transaction id
		}
		return netip.AddrPortFrom(netip.AddrFrom16(a), port), true
	}
	return netip.AddrPort{}, false
}

// Signed reports whether MESSAGE-INTEGRITY is that of key (RFC 8489 §14.5). Of a
// Builder it takes only the means to compute one; the message there stays.
func (m Message) Signed(key []byte, w *Builder) bool {
	for at := HeaderSize; at < len(m); {
		k, v, after := m.next(at)
		if k == AttrMessageIntegrity {
			if len(v) != integritySize {
				return false
			}
			return subtle.ConstantTimeCompare(v, w.mac.sum(key, m[:at])) == 1
		}
		at = after
	}
	return false
}

// Fingerprinted reports whether the message ends with FINGERPRINT; valid is false if
// it is not that of the message (RFC 8489 §14.7).
func (m Message) Fingerprinted() (present, valid bool) {
	for at := HeaderSize; at < len(m); {
		k, v, after := m.next(at)
		if k == AttrFingerprint {
			return true, after == len(m) && len(v) == 4 && binary.BigEndian.Uint32(v) == fingerprint(m[:at])
		}
		at = after
	}
	return false, true
}

func fingerprint(m []byte) uint32 { return crc32.ChecksumIEEE(m) ^ fingerprintXOR }

// ErrorCode is that of an error response, 0 without one.
func (m Message) ErrorCode() int {
	v, ok := m.Get(AttrErrorCode)
	if !ok || len(v) < 4 {
		return 0
	}
	return int(v[2]&7)*100 + int(v[3])
}

// ParseChannelData returns number and data of a ChannelData message. b may have
// padding behind it.
func ParseChannelData(b []byte) (number uint16, data []byte, ok bool) {
	if len(b) < ChannelHeaderSize || b[0]&0xc0 != 0x40 {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < ChannelHeaderSize+n {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[ChannelHeaderSize : ChannelHeaderSize+n], true
}

// FrameSize tells from the first four bytes of a stream how long the message is that
// begins there, with the padding of ChannelData (RFC 8656 §12.5); 0 if none can.
func FrameSize(head []byte) int {
	n := int(binary.BigEndian.Uint16(head[2:]))
	switch {
	case head[0]&0xc0 == 0x40:
		return ChannelHeaderSize + padded(n)
	case head[0]&0xc0 == 0 && n%4 == 0:
		return HeaderSize + n
	}
	return 0
}
