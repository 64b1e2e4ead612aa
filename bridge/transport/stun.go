package transport

// The few fields of a STUN message that routing needs, read without copying.

import (
	"bytes"
	"encoding/binary"
)

const (
	stunHeader       = 20
	stunCookie       = 0x2112A442
	stunAttrUsername = 0x0006

	bindingRequest  = 0x0001
	bindingSuccess  = 0x0101
	bindingError    = 0x0111
	stunResponse    = 0x0100 // RFC 8489 §5: the bit of both classes of responses
	maxUfrag        = 256    // RFC 8839 §5.4
	transactionSize = 12
)

type transactionID [transactionSize]byte

// stunType returns the message type of b, or false if b is no STUN message
// (RFC 8489 §5: cookie, length a multiple of four that fits the datagram).
func stunType(b []byte) (uint16, bool) {
	if len(b) < stunHeader || b[0] > 3 || binary.BigEndian.Uint32(b[4:]) != stunCookie {
		return 0, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n%4 != 0 || stunHeader+n != len(b) {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// stunTransaction returns the transaction id of a message that stunType accepted.
func stunTransaction(b []byte) transactionID { return transactionID(b[8:stunHeader]) }

// stunUfrag returns the receiver's ufrag: USERNAME up to the colon
// (RFC 8445 §7.2.2). The result points into b. It is nil if there is none.
func stunUfrag(b []byte) []byte {
	if len(b) < stunHeader {
		return nil
	}
	for b = b[stunHeader:]; len(b) >= 4; {
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b)-4 {
			return nil
		}
		if kind == stunAttrUsername {
			ufrag, _, ok := bytes.Cut(b[4:4+n], []byte{':'})
			if !ok || len(ufrag) == 0 || len(ufrag) > maxUfrag {
				return nil
			}
			return ufrag
		}
		if next := 4 + (n+3)&^3; next < len(b) {
			b = b[next:]
		} else {
			return nil
		}
	}
	return nil
}

// iceChars reports whether s has only ice-char (RFC 8839 §5.1).
func iceChars(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}
