package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	pool := rtpx.NewPool()
	push := func(q *queue, value byte) bool {
		p := pool.Get()
		defer p.Release()
		p.Space()[0] = value
		p.SetLen(1)
		return q.push(p, netip.AddrPort{})
	}
	q := newQueue(3)
	buf := make([]byte, 10)
	next := byte(0)
	want := byte(0)
	for round := range 50 {
		for push(q, next) {
			next++
		}
		if waiting := next - want; waiting != 3 {
			t.Fatalf("round %d: %d wait, limit 3", round, waiting)
		}
		for range 1 + round%3 {
			if n, _, err := q.read(buf); n != 1 || err != nil || buf[0] != want {
				t.Fatalf("read %d (%d bytes, %v), want %d", buf[0], n, err, want)
			}
			want++
		}
	}
	q.setDeadline(time.Now())
	if _, _, err := q.read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the deadline: %v", err)
	}
	q.setDeadline(time.Time{})
	push(q, 1)
	q.close()
	q.close()
	if push(q, 1) {
		t.Error("a closed queue took a packet")
	}
	if _, _, err := q.read(buf); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets not released", n)
	}
}
