package forward

import "confab/bridge/rtpx"

// Limits of what is remembered of an encoding behind its newest key frame
// (bridge.md §25.7): more would be a burst that takes longer than a new key frame.
const (
	keyMemorySize = 60
	keyMemoryAge  = int64(300e6)
	// maxOvertakers is how many packets are kept while the first packet of a key
	// frame may still be on its way.
	maxOvertakers = 32
)

// keyMemory keeps the packets since the newest key frame of an encoding for a
// moment. Who starts to receive then needs no key frame of its own, and who was
// given the encoding because of that key frame does not miss it (bridge.md
// §11.1). It retains the packets. It is guarded by the endpoint's mu.
type keyMemory struct {
	pkts []*rtpx.Packet // begins with a key frame if at is set
	at   int64          // when the key frame came, 0 when there is none
	ts   uint32

	// forgot is the newest of the packets that were let go while the first packet of
	// a key frame may still have been on its way; forgets says that there is one.
	forgot  uint16
	forgets bool
}

// keep takes a packet that is handed on. gap says that earlier ones are missing.
// It returns whether packets behind a key frame overtook this, its first one, and
// whether they are forgotten: then nobody can begin with it.
func (k *keyMemory) keep(pkt *rtpx.Packet, now int64, gap bool) (overtaken, stale bool) {
	in := &pkt.Info
	switch {
	case in.Key && in.Start && k.at == 0 && k.forgets && rtpx.SeqNewer(k.forgot, in.Number):
		return true, true
	case in.Key && in.Start && (k.at == 0 || k.ts != in.TS):
		k.forgets = false
		n := 0
		for _, p := range k.pkts {
			if i := &p.Info; k.at == 0 && i.Codec == in.Codec && rtpx.SeqNewer(i.Number, in.Number) {
				k.pkts[n] = p
				n++
			} else {
				p.Release()
			}
		}
		clear(k.pkts[n:])
		k.pkts = k.pkts[:n]
		k.add(pkt)
		copy(k.pkts[1:], k.pkts[:n])
		k.pkts[0] = pkt
		k.at, k.ts = now, in.TS
		return n > 0, false
	case k.at != 0 && now-k.at <= keyMemoryAge && len(k.pkts) < keyMemorySize:
		k.add(pkt)
	case k.at == 0 && gap:
		if len(k.pkts) == maxOvertakers {
			k.forget(k.pkts[0])
			k.pkts[0].Release()
			copy(k.pkts, k.pkts[1:])
			k.pkts = k.pkts[:maxOvertakers-1]
		}
		k.add(pkt)
	default:
		k.clear()
		k.forgets = false // all that came before is here
	}
	return false, false
}

func (k *keyMemory) forget(pkt *rtpx.Packet) {
	if n := pkt.Info.Number; !k.forgets || rtpx.SeqNewer(n, k.forgot) {
		k.forgot, k.forgets = n, true
	}
}

func (k *keyMemory) add(pkt *rtpx.Packet) {
	if k.pkts == nil {
		k.pkts = make([]*rtpx.Packet, 0, keyMemorySize)
	}
	pkt.Retain()
	k.pkts = append(k.pkts, pkt)
}

func (k *keyMemory) clear() {
	for _, p := range k.pkts {
		if k.at == 0 {
			k.forget(p)
		}
		p.Release()
	}
	clear(k.pkts)
	k.pkts, k.at = k.pkts[:0], 0
}

// recall retains what is remembered of a stream and returns it in buf.
func (st *stream) recall(buf []*rtpx.Packet) int {
	st.src.ep.mu.Lock()
	defer st.src.ep.mu.Unlock()
	n := copy(buf, st.in.keys.pkts)
	for _, p := range buf[:n] {
		p.Retain()
	}
	return n
}

// replay sends a receiver what is remembered behind the newest key frame of the
// best encoding up to its target, once. What is still on its way to this worker
// is recognized by its number when it comes.
func (w *worker) replay(b *sub, target rtpx.Layer) bool {
	p := b.proj
	if p.replay {
		return false
	}
	for enc := min(target.Encoding(), len(b.src.streams)-1); enc >= 0; enc-- {
		st := b.src.streams[enc]
		at := st.keyAt.Load()
		if at == 0 || w.now-at > keyMemoryAge || p.tried[enc] == at {
			continue
		}
		p.tried[enc] = at
		if enc == p.cur && at <= p.keyAt {
			return false
		}
		w.recollect(b, st)
		return true
	}
	return false
}

// recollect sends a receiver what is remembered of a stream.
func (w *worker) recollect(b *sub, st *stream) {
	n := st.recall(w.recalled[:])
	b.proj.replay = true
	defer func() {
		b.proj.replay = false
		for i, pkt := range w.recalled[:n] {
			pkt.Release()
			w.recalled[i] = nil
		}
	}()
	for _, pkt := range w.recalled[:n] {
		w.forwardAt(b, st, pkt, pkt.Arrived)
	}
}
