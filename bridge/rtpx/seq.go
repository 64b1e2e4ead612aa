package rtpx

// SeqNewer says whether a comes after b in the 16-bit circle (RFC 3550 A.1).
func SeqNewer(a, b uint16) bool { return a != b && a-b < 0x8000 }

// TSNewer says whether a comes after b in the 32-bit circle.
func TSNewer(a, b uint32) bool { return a != b && a-b < 0x8000_0000 }

// Unwrapper turns 16-bit sequence numbers into a monotonic line. The first
// number is placed at 65536 + itself, so that late packets stay positive.
type Unwrapper struct {
	last int64
	set  bool
}

// Peek places seq next to the newest number without moving the reference.
func (u *Unwrapper) Peek(seq uint16) int64 {
	if !u.set {
		return 1<<16 + int64(seq)
	}
	return u.last + int64(int16(seq-uint16(u.last)))
}

// Unwrap places seq and, if it is the newest so far, makes it the reference.
func (u *Unwrapper) Unwrap(seq uint16) int64 {
	v := u.Peek(seq)
	if !u.set || v > u.last {
		u.last, u.set = v, true
	}
	return v
}

// Last is the newest number so far; ok is false before the first.
func (u *Unwrapper) Last() (v int64, ok bool) { return u.last, u.set }

// Reset forgets everything.
func (u *Unwrapper) Reset() { *u = Unwrapper{} }
