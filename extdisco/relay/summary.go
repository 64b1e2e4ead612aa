package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"confab/extdisco/credential"
	"confab/extdisco/stun"
)

const (
	// summaryTime is how often at most the log is told what was refused (turn.md §8.2):
	// whoever sends it must not fill the disk.
	summaryTime = time.Minute
	// endLines are the lines for ended allocations in one second, panicLines those for
	// panics. A client that makes and deletes as fast as it can gets no more.
	endLines, panicLines = 100, 1
)

// summary tells the log of what nobody gets a line for. Loop 0 owns it but for the
// fields that are atomic.
type summary struct {
	told   time.Time
	before [len(troubles)]uint64

	stranger    atomic.Pointer[stranger] // the first that was refused since
	fault       atomic.Pointer[string]   // likewise, that no port was to be had
	ends, panic atomic.Uint64            // lines in the present second
}

// stranger has shown a credential that is not good.
type stranger struct {
	from     netip.AddrPort
	username string
}

// troubles are the counts of a summary, named as the metrics.
var troubles = [...]struct {
	name string
	of   func(*counters) uint64
}{
	{"garbage", func(c *counters) uint64 { return c.garbage.Load() }},
	{"unanswered", func(c *counters) uint64 { return c.overBudget.Load() }},
	{"bad_credentials", func(c *counters) uint64 { return c.badCredential.Load() }},
	{"over_quota", func(c *counters) uint64 { return c.overQuota.Load() }},
	{"no_capacity", func(c *counters) uint64 { return c.code(stun.CodeInsufficientCapacity) }},
	{"over_rate", func(c *counters) uint64 { return c.overRate.Load() }},
	{"queue_drops", func(c *counters) uint64 { return c.queueDrops.Load() }},
	{"ends_untold", func(c *counters) uint64 { return c.untold.Load() }},
}

// summarize writes a line if there is something new and the last one is old enough.
func (s *Server) summarize(now time.Time) {
	m := &s.summary
	if now.Sub(m.told) < summaryTime {
		return
	}
	var attrs []slog.Attr
	level := slog.LevelInfo
	for i, t := range troubles {
		n := t.of(&s.counters)
		if n == m.before[i] {
			continue
		}
		attrs = append(attrs, slog.Uint64(t.name, n-m.before[i]))
		m.before[i] = n
		if t.name == "over_quota" || t.name == "no_capacity" {
			level = slog.LevelWarn // somebody who may relay could not
		}
	}
	if attrs == nil {
		return
	}
	since := m.told
	if since.IsZero() {
		since = s.began
	}
	m.told = now
	attrs = append(attrs, slog.Duration("within", now.Sub(since).Round(time.Second)))
	if a := m.stranger.Swap(nil); a != nil {
		expires, _, timed := credential.Parse(a.username)
		attrs = append(attrs, slog.Group("first", "remote", a.from, "username", a.username, "expired", timed && expires.Before(now)))
	}
	if fault := m.fault.Swap(nil); fault != nil {
		attrs = append(attrs, slog.String("err", *fault))
	}
	s.log.LogAttrs(context.Background(), level, "turn requests and packets refused", attrs...)
}

// unknown notes who has shown a credential that is not good.
func (m *summary) unknown(from netip.AddrPort, username string) {
	if m.stranger.Load() == nil {
		const enough = 80 // it may be 508 bytes of anything
		m.stranger.CompareAndSwap(nil, &stranger{from, strings.ToValidUTF8(username[:min(len(username), enough)], "?")})
	}
}

// unable notes why no relayed socket was to be had.
func (m *summary) unable(err error) {
	if m.fault.Load() == nil {
		text := err.Error()
		m.fault.CompareAndSwap(nil, &text)
	}
}
