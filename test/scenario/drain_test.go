package scenario

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"confab/internal/meettest"
)

// A server that is told to stop lets the meeting go on that there is, takes no other,
// and ends with it.
func TestMeetingOutlivesTheSignal(t *testing.T) {
	w := newWorld(t, "[node]\ndrain_timeout = \"10m\"\n")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	w.must(syscall.Kill(w.PID, syscall.SIGTERM))
	for !strings.Contains(w.Log(), "shutdown begins") {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-w.ctx.Done():
			t.Fatal("the signal was not taken")
		}
	}
	c := w.join("Cem", nil) // into the meeting that is
	w.talk(a, b, c)
	w.smooth(a, b)
	for _, x := range []*meettest.Client{a, b, c} {
		select {
		case <-w.Done():
			t.Fatal("the server has ended with people in a meeting")
		default:
		}
		w.must(x.Leave(w.ctx))
	}
	select {
	case <-w.Done():
	case <-w.ctx.Done():
		t.Fatal("the server is still there")
	}
	if !strings.Contains(w.Log(), "shutdown done") {
		t.Error("the bridge did not end by itself")
	}
}
