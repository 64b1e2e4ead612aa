package forward

import (
	"fmt"
	"testing"
)

// ear writes down what a listener gets.
type ear struct{ got []string }

func (e *ear) Heard(h Heard) {
	e.got = append(e.got, fmt.Sprintf("%s %s %s/%d %d %d %s", h.Endpoint, h.Source, h.Format, h.ClockRate, h.Number, h.TS, h.Data))
}

// A listener gets what a receiver without RED gets, and nothing that is dropped.
func TestListener(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	alice := b.join("alice", mic("alice-a0", 1))
	alice.SetMedia(withRED(stock()))
	e := &ear{}
	b.p.Listen(e)
	hears := func(what string, want ...string) {
		t.Helper()
		if fmt.Sprint(e.got) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", what, e.got, want)
		}
		e.got = nil
	}
	alice.send(redPacket(1, 10, 9600, "p10", "p9"))
	hears("the primary block", "alice alice-a0 opus/48000 10 9600 p10")
	alice.send(redPacket(1, 12, 11520, "p12", "p11"))
	hears("what was lost, too", "alice alice-a0 opus/48000 11 10560 p11", "alice alice-a0 opus/48000 12 11520 p12")
	alice.send(redPacket(1, 11, 10560, "late"))
	hears("but not twice")
	alice.send(sent{pt: ptOpus, ssrc: 1, seq: 13, ts: 12480, payload: []byte("plain")})
	hears("without RED", "alice alice-a0 opus/48000 13 12480 plain")
	alice.SetMuted(true, false)
	alice.send(sent{pt: ptOpus, ssrc: 1, seq: 14, ts: 13440, payload: []byte("muted")})
	hears("nothing of who is muted")
	alice.SetMuted(false, false)
	b.p.Listen(nil)
	alice.send(sent{pt: ptOpus, ssrc: 1, seq: 15, ts: 14400, payload: []byte("alone")})
	hears("nothing when nobody listens")
}
