package forward

// past is what stays of an outgoing stream when its source has gone: where its
// numbers stand. Its SSRC may come back while the keys are the same, with the sender
// that had it or with one that claims it, and no SRTP packet index may be used twice.
type past struct {
	last            rewrite
	codec           codecState
	lastAt          int64
	packets, octets uint32
}

// pastFactor times MaxStreams are remembered of one receiver, those in use among them.
const pastFactor = 4

// expire lets packets go that were sent before a time, and the streams of sources
// that have gone. Nothing is due.
func (eg *egress) expire(before int64) {
	clear(eg.due[:cap(eg.due)])
	for _, o := range eg.outs {
		o.expire(before)
		if o.sub != nil && eg.over(o, before-idleHistory) {
			x := o.rtx
			eg.retire(o)
			if x != nil && eg.over(x, before-idleHistory) {
				eg.retire(x)
			}
		}
	}
}

// over reports whether nobody sends on a stream any more, nor sends again what went
// there. A retransmission stream has no source of its own.
func (eg *egress) over(o *outStream, before int64) bool {
	if o.lastAt >= before || o.sub != nil && !o.sub.gone.Load() {
		return false
	}
	for _, p := range eg.outs {
		if p.rtx == o {
			return false
		}
	}
	return true
}

// retire forgets a stream but for its numbers.
func (eg *egress) retire(o *outStream) {
	delete(eg.outs, o.ssrc)
	o.hist.clear()
	if eg.link.newest == o {
		eg.link.newest = nil
	}
	if o.started {
		eg.past[o.ssrc] = past{last: o.last, codec: o.codec, lastAt: o.lastAt, packets: o.packets, octets: o.octets}
	}
}

// out finds or makes the state of an SSRC, nil when there are too many.
func (eg *egress) out(ssrc uint32, limit int) *outStream {
	o := eg.outs[ssrc]
	if o != nil {
		return o
	}
	was, known := eg.past[ssrc]
	if len(eg.outs) >= limit || !known && len(eg.outs)+len(eg.past) >= pastFactor*limit {
		return nil
	}
	o = &outStream{ssrc: ssrc}
	if known {
		o.last, o.codec, o.lastAt, o.packets, o.octets = was.last, was.codec, was.lastAt, was.packets, was.octets
		o.started, o.ended = true, true
		o.went = went{was.last, was.lastAt, was.codec, true, true}
		o.numbers.high, o.numbers.set = was.last.seq, true
		for i := range o.numbers.used { // all of before
			o.numbers.used[i] = ^uint64(0)
		}
		delete(eg.past, ssrc)
	}
	eg.outs[ssrc] = o
	return o
}
