package forward

import (
	"confab/bridge/rtpx"
)

// audioShift renumbers audio where it cannot keep its numbers: under an SSRC
// that is not its own, or when a sender comes back with the same SSRC but starts
// anew, because no SRTP packet index may be used twice.
type audioShift struct {
	set   bool
	first uint16 // number with which it began
	early int    // packets since, up to lateAudio
	seq   uint16
	ts    uint32
}

const (
	// nearAhead is how far audio may jump ahead when its sender came back.
	nearAhead = 3000
	// lateAudio is after how many packets none can come from before the first one:
	// more than ingress still places.
	lateAudio = 2 * gapWindow
)

// apply numbers an audio packet: unchanged under its own SSRC, else going on
// where the outgoing stream stands. ok is false for a packet from before that:
// its number belongs to another one.
func (a *audioShift) apply(in *rtpx.Info, o *outStream, own bool, now int64) (rw rewrite, ok bool) {
	if !a.set {
		a.set, a.first, a.early = true, in.Number, 0
		switch {
		case o.started && (!own || in.Number-o.last.seq-1 >= nearAhead):
			a.seq = o.last.seq + 1 - in.Number
			// As much later as it is: a jitter buffer would take anything else for delay.
			a.ts = o.last.ts + uint32(max(now-o.lastAt, int64(20e6))/1000*48/1000) - in.TS
		case !own:
			// bridge.md §5.2: low numbers, so that a lost start does not hide a wrap.
			a.seq = 1 - in.Number
		}
	}
	if a.early < lateAudio && a.seq != 0 {
		if rtpx.SeqNewer(a.first, in.Number) {
			return rw, false
		}
		a.early++
	}
	return rewrite{seq: in.Number + a.seq, ts: in.TS + a.ts, marker: in.Marker}, true
}
