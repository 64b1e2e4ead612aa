package srtp

import "encoding/binary"

// Decrypter decrypts what one side sends.
type Decrypter struct {
	*crypt
	words   int // of a window
	limit   int // of streams
	streams map[uint32]*incoming
	last    *incoming
	clock   uint64            // packets, for the age of streams
	past    map[uint32]uint64 // highest index of streams that gave their place to others
}

// incoming is the state of an SSRC.
type incoming struct {
	ssrc uint32
	used uint64 // Decrypter.clock at its last packet
	window
}

// pastFactor times as many SSRCs as get state are remembered: a sender that goes on
// under an SSRC of long ago counts its packets from where it was, and must not be
// able to be replayed from there.
const pastFactor = 64

// NewDecrypter makes a Decrypter from the sender's master key and salt. A packet
// that is more than replay packets late is refused; at most limit SSRCs at a time
// get state, those heard last.
func NewDecrypter(p Profile, key, salt []byte, replay, limit int) (*Decrypter, error) {
	c, err := newCrypt(p, key, salt)
	if err != nil {
		return nil, err
	}
	d := &Decrypter{crypt: c, words: (replay+63)/64 + 1, limit: limit, streams: map[uint32]*incoming{}, past: map[uint32]uint64{}}
	d.last = d.newIncoming()
	return d, nil
}

func (d *Decrypter) newIncoming() *incoming {
	return &incoming{window: window{bits: make([]uint64, d.words)}}
}

// Decrypt authenticates an SRTP packet and decrypts it in place. ok is false for
// what is no RTP, of more SSRCs than can be remembered, a replay, too old or forged;
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
	d.clock++
	if !known {
		return d.begin(b, n, ssrc, seq)
	}
	i := guess(s.highest, seq)
	if i > maxIndex || !s.fresh(i) {
		return nil, false
	}
	if plain, ok = d.open(b, n, ssrc, i); !ok {
		return nil, false
	}
	s.accept(i)
	s.used = d.clock
	return plain, true
}

// begin decrypts a packet of an SSRC that has no state, and gives it some.
func (d *Decrypter) begin(b []byte, n int, ssrc uint32, seq uint16) (plain []byte, ok bool) {
	highest, again := d.past[ssrc]
	i := uint64(seq)
	if again {
		if i = guess(highest, seq); i <= highest || i > maxIndex {
			return nil, false
		}
	} else if len(d.streams) >= d.limit && len(d.past) >= pastFactor*d.limit {
		return nil, false
	}
	if plain, ok = d.open(b, n, ssrc, i); !ok {
		return nil, false
	}
	var s *incoming
	if len(d.streams) < d.limit {
		s = d.newIncoming()
	} else {
		s = d.leastUsed()
		delete(d.streams, s.ssrc)
		d.past[s.ssrc] = s.highest
		clear(s.bits)
	}
	delete(d.past, ssrc)
	s.ssrc, s.highest, s.used = ssrc, i, d.clock
	if again {
		for k := range s.bits { // what came before is too old to tell
			s.bits[k] = ^uint64(0)
		}
		s.bits[i>>6%uint64(len(s.bits))] = 1<<(i&63) - 1
	}
	s.accept(i)
	d.streams[ssrc], d.last = s, s
	return plain, true
}

func (d *Decrypter) leastUsed() (old *incoming) {
	for _, s := range d.streams {
		if old == nil || s.used < old.used {
			old = s
		}
	}
	return old
}

// Streams is how many SSRCs have state.
func (d *Decrypter) Streams() int { return len(d.streams) }
