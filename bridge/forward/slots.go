package forward

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"confab/bridge/rtpx"
)

// SSRC rewriting (bridge.md §12): the endpoint gets the sources of others not
// under the SSRCs of their senders but in slots, SSRCs that it has been told of
// and that go from source to source. A slot lives as long as its endpoint does,
// so what a client negotiates, and what SRTP must remember, is bounded by the
// number of slots however many people come and go.

// Slots says how many SSRCs an endpoint that takes part in SSRC rewriting gets.
type Slots struct {
	Audio, Video int
	// Mids gives each slot a mid, which is stamped on its packets.
	Mids bool
}

// Mapping is what the client has to know of a slot.
type Mapping struct {
	Source string
	Owner  string // endpoint
	SSRC   uint32
	RTX    uint32 // 0 for audio
	Mid    string // "" without mids
}

const (
	// slotSettle is how long after its first announcement a slot goes to no other
	// source: LJM ignores a mapping while it still makes the track of the SSRC.
	slotSettle = time.Second
	// slotBusy is how recently a voice must have been heard to keep its slot.
	slotBusy = time.Second
	// wishInterval separates the wishes of a subscription that finds no slot.
	wishInterval = 100 * time.Millisecond
)

// address is where a subscription sends. It is immutable.
type address struct {
	ssrc, rtx uint32
	mid       []byte // nil: none is stamped
	from      int64  // packet clock: nothing is sent before
}

// slot is one SSRC, with that of its retransmissions, towards one endpoint.
type slot struct {
	ssrc, rtx uint32
	mid       string

	source string // that has it, or had it when owner is ""
	owner  string // endpoint of the source, "" when the slot is free
	made   int64
	used   int64 // counts up; when allocation last wanted it
}

// slotTable is the slots of one kind of an endpoint. It is guarded by Pipeline.mu.
type slotTable struct {
	kind   Kind
	limit  int
	mids   bool
	slots  []*slot
	source map[string]*slot // those that are not free
	clock  int64            // of used
}

func newSlotTable(kind Kind, limit int, mids bool) *slotTable {
	return &slotTable{kind: kind, limit: limit, mids: mids, source: make(map[string]*slot)}
}

func (s *slot) mapping() Mapping {
	return Mapping{Source: s.source, Owner: s.owner, SSRC: s.ssrc, RTX: s.rtx, Mid: s.mid}
}

func (s *slot) address(from int64) *address {
	a := &address{ssrc: s.ssrc, rtx: s.rtx, from: from}
	if s.mid != "" {
		a.mid = []byte(s.mid)
	}
	return a
}

// release frees the slot of a source. The client is told nothing: it forgets
// the tracks of who leaves by itself.
func (t *slotTable) release(source string) {
	if s := t.source[source]; s != nil {
		delete(t.source, source)
		s.owner = ""
	}
}

// pick finds a slot for a source: the one that it had, a new one, a free one, and,
// with evict, the one that was not used for the longest time. used tells the age of
// a slot's use, ok that it may be taken. New ones come before free ones because a
// track that LJM moves to another participant is not among those of its getTracks.
func (t *slotTable) pick(source string, now int64, evict bool, used func(*slot) (at int64, ok bool)) (s *slot, isNew bool) {
	var free, old *slot
	var oldAt int64
	for _, s := range t.slots {
		switch {
		case s.owner == "" && s.source == source:
			return s, false
		case now-s.made < int64(slotSettle):
		case s.owner == "":
			if free == nil || s.used < free.used {
				free = s
			}
		case evict:
			if at, ok := used(s); ok && (old == nil || at < oldAt) {
				old, oldAt = s, at
			}
		}
	}
	switch {
	case len(t.slots) < t.limit:
		return nil, true
	case free != nil:
		return free, false
	}
	return old, false
}

// add makes a slot. taken says which SSRCs it can't have.
func (t *slotTable) add(now int64, taken func(uint32) bool) *slot {
	ssrc := func() uint32 {
		for {
			if v := rand.Uint32(); v != 0 && !taken(v) {
				return v
			}
		}
	}
	s := &slot{ssrc: ssrc(), made: now}
	if t.kind == Video {
		for s.rtx = ssrc(); s.rtx == s.ssrc; {
			s.rtx = ssrc()
		}
	}
	if t.mids {
		s.mid = t.kind.String()[:1] + strconv.Itoa(len(t.slots)) // v0, v1, …; a0, a1, …
	}
	t.slots = append(t.slots, s)
	return s
}

// Assign gives slots to sources of a kind and keeps those that they have. The
// first need of them may take slots from sources that are not named; the others
// only get what is free. What the client has to be told first is passed to tell;
// only when that returns do packets go out under a changed slot. ok is false when
// there was none for one that needs one: try again in a while. Without effect for an
// endpoint without slots.
func (ep *Endpoint) Assign(kind Kind, sources []string, need int, tell func([]Mapping)) (ok bool) {
	if ep.slots == nil {
		return true
	}
	changed, all, ok := ep.assign(kind, sources, need)
	if len(changed) > 0 {
		tell(all)
		ep.attach(changed)
	}
	return ok
}

// change is a slot that got another source.
type change struct {
	slot   *slot
	source string
	isNew  bool
}

func (ep *Endpoint) assign(kind Kind, sources []string, need int) (changed []change, tell []Mapping, ok bool) {
	p := ep.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if ep.closed {
		return nil, nil, true
	}
	ok = true
	t, now := ep.slots[kind], p.e.cfg.Now()
	round := t.clock + 1
	// First those that have one, so that they don't lose it to the others.
	for _, name := range slices.Backward(sources[:need]) {
		t.touch(name)
	}
	used := func(s *slot) (int64, bool) {
		if kind == Video {
			return s.used, s.used < round
		}
		src := p.sources[s.source]
		if src == nil {
			return 0, true
		}
		at := src.heardAt.Load()
		return at, now-at >= int64(slotBusy)
	}
	for i, name := range sources {
		src := p.sources[name]
		if t.source[name] != nil || src == nil || src.Kind != kind || !src.isFor(ep) || src.Synthetic && !ep.subscription.wants(src) {
			continue
		}
		s, isNew := t.pick(name, now, i < need, used)
		if isNew {
			s = t.add(now, func(v uint32) bool { return p.taken(ep, v) })
		} else if s == nil {
			ok = ok && i >= need
			continue
		}
		if s.owner != "" {
			delete(t.source, s.source)
			if b := ep.subs[s.source]; b != nil {
				b.addr.Store(nil)
			}
		}
		s.source, s.owner = name, src.ep.id
		t.source[name] = s
		t.touch(name)
		changed = append(changed, change{s, name, isNew})
		tell = append(tell, s.mapping())
	}
	return changed, tell, ok
}

// touch notes that a source is wanted.
func (t *slotTable) touch(source string) {
	if s := t.source[source]; s != nil {
		t.clock++
		s.used = t.clock
	}
}

// attach lets packets out under slots of which the client was told.
func (ep *Endpoint) attach(changed []change) {
	p := ep.p
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.e.cfg.Now()
	for _, c := range changed {
		b := ep.subs[c.source]
		if b == nil || c.slot.source != c.source || c.slot.owner == "" {
			continue
		}
		from := now
		if c.isNew {
			from += int64(p.e.cfg.SlotDelay)
		}
		b.addr.Store(c.slot.address(from))
	}
}

// Mappings are all slots of a kind that have a source, in the order in which the
// client heard of them.
func (ep *Endpoint) Mappings(kind Kind) []Mapping {
	if ep.slots == nil {
		return nil
	}
	ep.p.mu.Lock()
	defer ep.p.mu.Unlock()
	var out []Mapping
	for _, s := range ep.slots[kind].slots {
		if s.owner != "" {
			out = append(out, s.mapping())
		}
	}
	return out
}

// taken reports whether an SSRC means something to the endpoint already, or to
// the conference. p.mu is held.
func (p *Pipeline) taken(ep *Endpoint, ssrc uint32) bool {
	if _, ok := p.table.Load().bySSRC[ssrc]; ok || ssrc == ep.feedback {
		return true
	}
	for _, t := range ep.slots {
		for _, s := range t.slots {
			if s.ssrc == ssrc || s.rtx == ssrc {
				return true
			}
		}
	}
	return false
}

// place gives a new subscription its address: that of the sender, or of the slot
// that its source has. p.mu is held.
func (ep *Endpoint) place(b *sub) {
	if ep.slots == nil {
		e := b.src.Encodings[0]
		b.addr.Store(&address{ssrc: e.SSRC, rtx: e.RTX})
		return
	}
	if s := ep.slots[b.src.Kind].source[b.src.Name]; s != nil && s.owner == b.src.ep.id {
		b.addr.Store(s.address(0))
	}
}

// vacate takes a slot from a source that is no more. p.mu is held.
func (ep *Endpoint) vacate(src *source) {
	if ep.slots == nil {
		return
	}
	if now := ep.p.sources[src.Name]; now == nil || now.Kind != src.Kind || now.ep != src.ep {
		ep.slots[src.Kind].release(src.Name)
	}
}

// wishes are the audio sources that were to be forwarded to somebody who has no
// slot for them.
type wishes struct{ heard, silent atomic.Bool }

// wish notes, for the control to see, that a packet found no slot. Of the worker.
func (b *sub) wish(in *rtpx.Info, now int64) {
	if b.src.Kind == Video || now-b.wishedAt < int64(wishInterval) {
		return
	}
	b.wishedAt = now
	if in.HasLevel && in.Level&0x7F == 127 {
		b.src.wished.silent.Store(true)
	} else {
		b.src.wished.heard.Store(true)
	}
}

// TakeVoices returns the audio sources that found no slot with a receiver since
// the last call, and those of them that are silent, which is no reason to take
// a slot from another.
func (p *Pipeline) TakeVoices() (heard, silent []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, src := range p.sources {
		if src.Kind != Audio {
			continue
		}
		h, s := src.wished.heard.Swap(false), src.wished.silent.Swap(false)
		switch {
		case h:
			heard = append(heard, name)
		case s:
			silent = append(silent, name)
		}
	}
	slices.Sort(heard)
	slices.Sort(silent)
	return heard, silent
}

// Voices are the audio sources that were heard within a time, the latest first.
func (p *Pipeline) Voices(within time.Duration) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	now := p.e.cfg.Now()
	for name, src := range p.sources {
		if at := src.heardAt.Load(); src.Kind == Audio && at != 0 && now-at < int64(within) {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		return cmp.Compare(p.sources[b].heardAt.Load(), p.sources[a].heardAt.Load())
	})
	return out
}
