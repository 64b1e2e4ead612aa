package bwe

import "testing"

// TestHistory: numbers wrap, the oldest are forgotten, gaps were never sent.
func TestHistory(t *testing.T) {
	t.Parallel()
	var h history
	if _, known := h.place(5); known {
		t.Error("a number of nothing")
	}
	for i := range 70_000 {
		h.add(uint16(65_000+i), 100+i%1000, sec+int64(i)*ms)
	}
	now := sec + 69_999*ms
	last := uint16((65_000 + 69_999) % 65_536)
	pos, known := h.place(last)
	if !known || pos != h.high {
		t.Error(pos, h.high)
	}
	p := h.at(pos)
	if p.state != inflight || p.size != 100+999 {
		t.Errorf("%+v", p)
	}
	if sent := h.sent(p, now+3*sec); sent > now || sent < now-tick {
		t.Errorf("sent %d ns off", now-sent)
	}
	h.add(last+10, 1, now)
	if h.at(h.high-5).state != gone || h.at(h.high-10).state != inflight {
		t.Error("a gap that was sent")
	}
	if pos := h.add(last-20, 1, now); h.at(pos).state != inflight || h.high != pos+30 {
		t.Error("one sent late")
	}
	h.add(last-5000, 7, now) // out of reach
	for i := h.low(); i <= h.high; i++ {
		if h.at(i).size == 7 {
			t.Error("in another's place")
		}
	}
	h.forget()
	if h.at(h.high).state != gone {
		t.Error("not forgotten")
	}
}

// TestClock: reference times wrap every twelve days, feedback comes out of order,
// and a clock that jumps is another clock.
func TestClock(t *testing.T) {
	t.Parallel()
	var c clock
	at := func(ref int32, now int64) (int64, bool) {
		off, jumped := c.place(ref, now)
		return off + int64(ref)*refUnit*unit, jumped
	}
	const one = refUnit * unit // 64 ms
	top := int32(1<<23 - 2)    // two before the wrap
	first, _ := at(top, sec)
	for i := range int64(5) {
		ref := (int64(top)+i+1<<23)&(1<<24-1) - 1<<23
		if v, jumped := at(int32(ref), sec+i*one); jumped || v-first != i*one {
			t.Errorf("step %d: %d ns, jumped %v", i, v-first, jumped)
		}
	}
	if v, jumped := at(top, sec+5*one); jumped || v != first { // late, from before the wrap
		t.Errorf("late: %d ns, jumped %v", v-first, jumped)
	}
	if _, jumped := at(0, sec+6*one); !jumped {
		t.Error("six days ahead are no jump")
	}
	if _, jumped := at(1, sec+7*one); jumped {
		t.Error("a jump from where it jumped to")
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	var b budget
	n := 0
	for i := range int64(10_000) {
		if b.take(sec + i*100_000) { // for a second
			n++
		}
	}
	if n < budgetBurst || n > budgetBurst+budgetRate+1 {
		t.Error(n)
	}
}

// TestGroups: packets of a frame are one group, whose delay is that of its first;
// a frame behind the next is the next group; what piled up is one.
func TestGroups(t *testing.T) {
	t.Parallel()
	var g grouper
	var got []sample
	add := func(sent, arrival int64) {
		if s, ok := g.add(sent*ms, arrival*ms); ok {
			got = append(got, s)
		}
	}
	for i := range int64(5) { // frames of three, that wait for each other, on a delay that grows by 2 ms
		at := i * 33
		add(at, at+20+2*i)
		add(at, at+25+2*i)
		add(at+1, at+30+2*i)
	}
	if len(got) != 3 {
		t.Fatalf("%d samples", len(got))
	}
	for _, s := range got {
		if s.change != 2*ms || s.sent != 33*ms {
			t.Errorf("%+v", s)
		}
	}
	add(10, 500) // too late for any
	if len(got) != 3 {
		t.Error("an old one made a group")
	}
	got = nil
	for i := range int64(6) { // held until 400
		add(170+20*i, max(400, 190+20*i))
	}
	add(600, 620)
	if len(got) != 2 || got[1].delay != 130*ms {
		t.Errorf("%+v", got)
	}
}
