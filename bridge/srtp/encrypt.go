package srtp

import "encoding/binary"

// Encrypter encrypts what one side sends.
type Encrypter struct {
	*crypt
	streams map[uint32]*outgoing
	last    *outgoing // of the packet before, which is mostly of the same stream
}

// outgoing is the state of an SSRC.
type outgoing struct {
	ssrc    uint32
	highest uint64 // index of the newest packet
}

// NewEncrypter makes an Encrypter from the sender's master key and salt.
func NewEncrypter(p Profile, key, salt []byte) (*Encrypter, error) {
	c, err := newCrypt(p, key, salt)
	if err != nil {
		return nil, err
	}
	return &Encrypter{crypt: c, streams: map[uint32]*outgoing{}, last: &outgoing{}}, nil
}

// Encrypt encrypts an RTP packet in place and returns it with its tag, for which
// b has room: Overhead bytes of capacity. A packet may be sent again as long as
// it is less than half a turn of the sequence numbers old.
func (e *Encrypter) Encrypt(b []byte) ([]byte, error) {
	n, ok := headerLen(b)
	if !ok {
		return nil, ErrMalformed
	}
	if cap(b)-len(b) < Overhead {
		return nil, ErrRoom
	}
	ssrc, seq := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[2:])
	s := e.last
	if s.ssrc != ssrc || len(e.streams) == 0 {
		if s = e.streams[ssrc]; s == nil {
			s = &outgoing{ssrc: ssrc, highest: uint64(seq)}
			e.streams[ssrc] = s
		}
		e.last = s
	}
	i := guess(s.highest, seq)
	if i > maxIndex || i > s.highest+median {
		// From before the stream began. Receivers would take it for one that is
		// 65,000 packets ahead, and then nothing that follows for what it is.
		return nil, ErrIndex
	}
	s.highest = max(s.highest, i)
	return e.seal(b, n, ssrc, i), nil
}
