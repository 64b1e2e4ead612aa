package bwe

// historySize is how many packets are remembered: two seconds at 20 Mbit/s, ten
// and more at what a slow link carries. Must be a power of two.
const historySize = 4096

// maxAge is when a packet is too old for feedback about it to mean anything
// (bridge.md §13.1: send history 60 s).
const maxAge = 60 * sec

const (
	gone     = uint8(iota) // never sent, or forgotten
	inflight               // sent
	missing                // reported as not arrived, so far
	arrived                // reported as arrived
)

// tick is the unit in which send times are kept; 32 bits of it are 19 hours.
const tick = 16_000 // ns

// sentPacket is what is remembered of a packet.
type sentPacket struct {
	when  uint32 // ticks
	size  uint16
	state uint8
}

// history remembers what was sent, by transport-wide number.
type history struct {
	ring [historySize]sentPacket
	high int64 // newest number, unwrapped; the first is 65536 or more
	any  bool
}

// add notes a packet and returns its unwrapped number. Numbers that were left out
// are as good as never sent.
func (h *history) add(seq uint16, size int, now int64) int64 {
	pos, known := h.place(seq)
	if !known {
		h.high, h.any = pos-1, true
	}
	if pos <= h.high-historySize {
		return pos
	}
	for i := max(h.high+1, pos-historySize+1); i < pos; i++ {
		h.ring[i&(historySize-1)].state = gone
	}
	h.high = max(h.high, pos)
	h.ring[pos&(historySize-1)] = sentPacket{
		when: uint32(now / tick), size: uint16(min(max(size, 0), 0xFFFF)), state: inflight,
	}
	return pos
}

// place unwraps a number next to the newest one.
func (h *history) place(seq uint16) (pos int64, known bool) {
	if !h.any {
		return 1<<16 + int64(seq), false
	}
	return h.high + int64(int16(seq-uint16(h.high))), true
}

// low is the oldest number that is remembered.
func (h *history) low() int64 { return h.high - historySize + 1 }

// at is the packet with a number from low to high.
func (h *history) at(pos int64) *sentPacket { return &h.ring[pos&(historySize-1)] }

// sent is when a packet was sent.
func (h *history) sent(p *sentPacket, now int64) int64 {
	n := now / tick
	return (n - int64(uint32(n)-p.when)) * tick
}

// forget makes all that was sent count as never sent.
func (h *history) forget() {
	for i := range h.ring {
		h.ring[i].state = gone
	}
}
