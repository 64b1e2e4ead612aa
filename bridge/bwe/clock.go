package bwe

// unit is the resolution of arrival times in transport-wide feedback.
const unit = int64(250_000) // ns

const (
	refUnit = 256     // units in one of the reference time
	refSpan = 1 << 24 // reference times until it begins anew, 12 days
)

// maxJump is by how much the receiver's clock may run away from ours between two
// feedbacks, in ns. It must allow for feedback that waited in a queue.
const maxJump = 30 * sec

// clock puts the arrival times of a receiver on one line.
type clock struct {
	set  bool
	ref  int32 // newest reference time
	wrap int64 // what was added for its wraps, in reference units
	diff int64 // its time less ours at the first feedback, ns
}

// place says what to add to the times of a feedback with a reference time so that
// they go on where those of earlier ones were. jumped says that they cannot.
func (c *clock) place(ref int32, now int64) (offset int64, jumped bool) {
	wrap := c.wrap
	if c.set {
		if d := int64(ref) - int64(c.ref); d < -refSpan/2 {
			wrap += refSpan
		} else if d > refSpan/2 {
			wrap -= refSpan
		}
	}
	offset = wrap * refUnit * unit
	at := offset + int64(ref)*refUnit*unit
	if drift := at - now - c.diff; !c.set || drift > maxJump || drift < -maxJump {
		jumped = c.set
		*c = clock{set: true, ref: ref, diff: int64(ref)*refUnit*unit - now}
		return 0, jumped
	}
	if wrap > c.wrap || wrap == c.wrap && ref > c.ref {
		c.ref, c.wrap = ref, wrap
	}
	return offset, false
}

// Feedback is worked on at this rate at most; more of it is dropped unread. A
// browser sends 4 to 20 per second, and a burst of them after a stall.
const (
	budgetRate  = 250 // per second
	budgetBurst = 250
)

// budget is a token bucket for feedback, in ns of work.
type budget struct {
	spent int64 // until when what was taken is paid for
}

func (b *budget) take(now int64) bool {
	b.spent = max(b.spent, now-budgetBurst*sec/budgetRate)
	if b.spent >= now {
		return false
	}
	b.spent += sec / budgetRate
	return true
}
