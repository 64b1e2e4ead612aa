package srtp

import "encoding/binary"

// Decrypter decrypts what one side sends.
type Decrypter struct {
	*crypt
	words   int // of a window
	limit   int // of streams
	streams map[uint32]*incoming
	last    *incoming
}

// incoming is the state of an SSRC.
type incoming struct {
	ssrc uint32
	window
}

// NewDecrypter makes a Decrypter from the sender's master key and salt. A packet
// that is more than replay packets late is refused; at most limit SSRCs get state.
func NewDecrypter(p Profile, key, salt []byte, replay, limit int) (*Decrypter, error) {
	c, err := newCrypt(p, key, salt)
	if err != nil {
		return nil, err
	}
	d := &Decrypter{crypt: c, words: (replay+63)/64 + 1, limit: limit, streams: map[uint32]*incoming{}}
	d.last = d.newIncoming()
	return d, nil
}

func (d *Decrypter) newIncoming() *incoming {
	return &incoming{window: window{bits: make([]uint64, d.words)}}
}

// Decrypt authenticates an SRTP packet and decrypts it in place. ok is false for
// what is no RTP, of a new SSRC beyond the limit, a replay, too old or forged;
// then the content of b is lost.
func (d *Decrypter) Decrypt(b []byte) (plain []byte, ok bool) {
	n, ok := headerLen(b)
	if !ok {
		return nil, false
	}
	ssrc, seq := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[2:])
	s, known := d.last, true
	if s.ssrc != ssrc || len(d.streams) == 0 {
		if s, known = d.streams[ssrc]; known {
			d.last = s
		}
	}
	if !known {
		if len(d.streams) >= d.limit {
			return nil, false
		}
		if plain, ok = d.open(b, n, ssrc, uint64(seq)); !ok {
			return nil, false
		}
		s = d.newIncoming()
		s.ssrc, s.highest = ssrc, uint64(seq)
		s.accept(uint64(seq))
		d.streams[ssrc], d.last = s, s
		return plain, true
	}
	i := guess(s.highest, seq)
	if i > maxIndex || !s.fresh(i) {
		return nil, false
	}
	if plain, ok = d.open(b, n, ssrc, i); !ok {
		return nil, false
	}
	s.accept(i)
	return plain, true
}

// Streams is how many SSRCs have state.
func (d *Decrypter) Streams() int { return len(d.streams) }
