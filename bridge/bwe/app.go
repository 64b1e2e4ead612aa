package bwe

const (
	appSpan  = 500 * ms
	appBegin = 0.65 // of the estimate: below this the application limits
	appEnd   = 0.80
)

// limited tells whether less is sent than the network carries, so that what
// arrives says nothing about the network's limit (bridge.md §13.1: ALR).
type limited struct {
	limited bool

	bits float64 // sent, fading
	at   int64
}

func (l *limited) sent(size int, now, target int64) {
	l.fade(now)
	l.bits += float64(size) * 8
	l.judge(target)
}

// idle is for when nothing is sent.
func (l *limited) idle(now, target int64) {
	l.fade(now)
	l.judge(target)
}

func (l *limited) fade(now int64) {
	dt := now - l.at
	l.at = now
	l.bits *= max(0, 1-float64(dt)/float64(appSpan))
}

// rate is what is sent, bits/s.
func (l *limited) rate() float64 { return l.bits * float64(sec) / float64(appSpan) }

func (l *limited) judge(target int64) {
	part := l.rate() / float64(target)
	if l.limited {
		l.limited = part < appEnd
	} else {
		l.limited = part < appBegin
	}
}
