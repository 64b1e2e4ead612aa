package forward

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// meeting is a sender with three encodings and one receiver who wants this and that.
type meeting struct {
	t      *testing.T
	b      *bed
	alice  *client
	bob    *client
	truth  *truth
	encs   []*encoder
	r      *rand.Rand
	seed   uint64
	rtxSeq [3]uint16
	later  []delayed
	n      int // pictures
	wish   bool
	plis   int
	target rtpx.Layer
	line   []arrival
	u      rtpx.Unwrapper
	looked int // frame at which decodable looks
	log    []string
}

type delayed struct {
	at int
	p  sent
}

// arrival is a packet that bob got.
type arrival struct {
	pos int64
	seen
	id  int // of the frame, -1 for an empty packet
	dd  rtpx.DD
	hdd bool
}

func newMeeting(t *testing.T, seed uint64) *meeting {
	m := &meeting{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 7)), truth: &truth{}}
	m.b = newBed(t, func(c *Config) { c.Workers = 1; c.KeyframeMax = 16 })
	src := Source{Name: "alice-v0", Kind: Video}
	for i := range 3 {
		e := &encoder{truth: m.truth, r: m.r, enc: i, ssrc: uint32(10 + i), rtx: uint32(110 + i),
			seq: uint16(65000 + 200*i), ts: uint32(i) * 1e9, pid: uint16(32000 + 300*i), tl0: uint8(90 * i), frame: uint16(65300 + 50*i)}
		m.encs = append(m.encs, e)
		src.Encodings = append(src.Encodings, Encoding{SSRC: e.ssrc, RTX: e.rtx})
	}
	m.alice, m.bob = m.b.join("alice", src), m.b.join("bob")
	return m
}

func (m *meeting) want(l rtpx.Layer) {
	if l != m.target {
		m.target = l
		m.log = append(m.log, fmt.Sprintf("%d: target %v", m.n, l))
		m.bob.SetTarget("alice-v0", l)
	}
}

// picture lets the sender make one picture. lose is the chance in a thousand that a
// packet is lost, and comes again some pictures later; swap that it comes late.
func (m *meeting) picture(s scheme, lose, swap int) {
	m.b.pass(33 * time.Millisecond)
	m.n++
	n := 3
	if s.layers > 1 {
		n = 1 // one stream with layers in it
	}
	key := m.wish && m.r.IntN(3) == 0
	m.wish = m.wish && !key
	for _, e := range m.encs[:n] {
		for _, p := range e.picture(s, key) {
			switch k := m.r.IntN(1000); {
			case m.n < 6: // of the first packets of a stream nobody knows that they are missing
				m.alice.send(p)
			case k < lose:
				m.rtxSeq[e.enc]++
				m.later = append(m.later, delayed{m.n + 1 + m.r.IntN(6), e.retransmission(p, m.rtxSeq[e.enc])})
			case k < lose+swap:
				m.later = append(m.later, delayed{m.n + m.r.IntN(3), p})
			default:
				m.alice.send(p)
			}
		}
		m.deliver(m.n)
	}
	m.take()
}

// deliver sends what was held back until now.
func (m *meeting) deliver(n int) {
	var rest []delayed
	for _, d := range m.later {
		if d.at <= n {
			m.log = append(m.log, fmt.Sprintf("%d: late %x", m.n, d.p.payload[len(d.p.payload)-4:]))
			m.alice.send(d.p)
		} else {
			rest = append(rest, d)
		}
	}
	m.later = rest
}

func (m *meeting) take() {
	for _, s := range m.bob.got() {
		if s.ssrc != 10 {
			continue
		}
		a := arrival{pos: m.u.Unwrap(s.seq), seen: s, id: -1}
		if len(s.payload) > 0 {
			a.id = int(binary.BigEndian.Uint32(s.payload[len(s.payload)-4:]))
		}
		m.line = append(m.line, a)
	}
	if n := m.alice.plis(); n > 0 {
		m.wish = true
		m.plis += n
	}
}

// picked is a frame as bob has it.
type picked struct {
	id       int
	complete bool
	at       int64 // of the first packet
	ts       uint32
	marker   bool
	pts      []arrival
}

// frames checks the packets as such and puts frames together.
func (m *meeting) frames() (out []*picked) {
	t := m.t
	slices.SortStableFunc(m.line, func(a, b arrival) int { return int(a.pos - b.pos) })
	var dd rtpx.DDParser
	var cur *picked
	for i := range m.line {
		a := &m.line[i]
		if i > 0 && a.pos == m.line[i-1].pos {
			t.Fatalf("number %d twice", a.seq)
		}
		if a.id < 0 {
			continue
		}
		if e := a.ext(extDD); e != nil {
			if !dd.Parse(e, &a.dd) {
				t.Fatalf("packet %d: descriptor %x", a.pos, e)
			}
			a.hdd = true
		}
		if a.ext(extSendTime) != nil || len(a.ext(extTCC)) != 2 {
			t.Fatal("extensions")
		}
		if cur == nil || cur.id != a.id {
			cur = &picked{id: a.id, at: a.pos, ts: a.ts}
			out = append(out, cur)
		}
		if a.ts != cur.ts {
			t.Fatalf("frame %d has two timestamps", a.id)
		}
		cur.pts = append(cur.pts, *a)
		cur.marker = cur.marker || a.marker
	}
	for _, f := range out {
		first, last := f.pts[0], f.pts[len(f.pts)-1]
		f.complete = len(f.pts) == m.truth.frames[f.id].packets && last.pos-first.pos == int64(len(f.pts)-1)
		switch m.truth.frames[f.id].codec { // what a receiver sees must say the same
		case rtpx.CodecVP8:
			v := first.vp8()
			if f.complete && (!v.Start || !last.marker) {
				t.Fatalf("frame %d: %+v", f.id, v)
			}
		case rtpx.CodecAV1:
			if f.complete && (!first.dd.Start || !last.dd.End) {
				t.Fatalf("frame %d: %+v", f.id, first.dd)
			}
		}
	}
	return out
}

// decodable checks that every whole frame can be decoded, and that a receiver who
// goes by what it is told never waits for a frame that it does not have. It
// returns how many frames there were of each kind.
func (m *meeting) decodable(fs []*picked, recovered bool) {
	t := m.t
	have := map[int]*picked{}
	for _, f := range fs {
		if have[f.id] != nil {
			t.Fatalf("frame %d came apart", f.id)
		}
		have[f.id] = f
	}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", m.seed)
			m.context(fs)
		}
	}()
	byNumber, numbers := map[int64]bool{}, rtpx.Unwrapper{} // frame numbers of AV1
	var prev *picked
	var lastKey int
	for i, f := range fs {
		tf := &m.truth.frames[f.id]
		m.looked = i
		name := fmt.Sprintf("frame %d (E%dS%dT%d codec %d key %v)", f.id, tf.enc, tf.spatial, tf.temporal, tf.codec, tf.key)
		if prev != nil {
			pt := &m.truth.frames[prev.id]
			same := pt.codec == tf.codec && pt.enc == tf.enc && pt.picture == tf.picture
			if same != (f.ts == prev.ts) {
				t.Fatalf("%s: timestamp %d after %d", name, f.ts, prev.ts)
			}
			if !same && !rtpx.TSNewer(f.ts, prev.ts) {
				t.Fatalf("%s: time runs backwards: %d after %d", name, f.ts, prev.ts)
			}
			if (pt.codec != tf.codec || pt.enc != tf.enc) && !tf.key {
				t.Fatalf("%s: begins without a key frame", name)
			}
		} else if !tf.key {
			t.Fatalf("%s: begins without a key frame", name)
		}
		if tf.key {
			lastKey = f.id
		}
		last := i == len(fs)-1 || fs[i+1].ts != f.ts
		if f.complete && f.marker != last && (recovered || !last) && i < len(fs)-1 {
			t.Fatalf("%s: marker %v, last of its picture %v", name, f.marker, last)
		}
		if !f.complete && recovered && !m.cutOff(fs, i) {
			t.Fatalf("%s: %d of %d packets at %d", name, len(f.pts), tf.packets, f.at)
		}
		for _, d := range tf.deps {
			if recovered && f.complete && (have[d] == nil || !have[d].complete) && !m.cutOff(fs, i) {
				t.Fatalf("%s: needs frame %d, which is missing; last key %d", name, d, lastKey)
			}
		}
		if p := &f.pts[0]; p.hdd {
			number := numbers.Unwrap(p.dd.Frame)
			if byNumber[number] {
				t.Fatalf("%s: frame number %d again", name, p.dd.Frame)
			}
			for _, d := range p.dd.Diffs[:p.dd.NDiffs] {
				if recovered && !byNumber[number-int64(d)] && !m.cutOff(fs, i) {
					t.Fatalf("%s: number %d refers to %d, which is missing", name, p.dd.Frame, p.dd.Frame-d)
				}
			}
			byNumber[number] = true
		}
		prev = f
	}
}

// context prints the frames around the one at which decodable looked.
func (m *meeting) context(fs []*picked) {
	for i := max(0, m.looked-8); i < min(len(fs), m.looked+4); i++ {
		f := fs[i]
		tf := &m.truth.frames[f.id]
		m.t.Logf("%v frame %d E%dS%dT%d key %v at %d, %d of %d packets, deps %v, ts %d, marker %v", i == m.looked, f.id, tf.enc, tf.spatial, tf.temporal, tf.key, f.at, len(f.pts), tf.packets, tf.deps, f.ts, f.marker)
	}
	from := m.truth.frames[fs[max(0, m.looked-3)].id].picture - 4
	for _, l := range m.log {
		var n int
		fmt.Sscan(l, &n)
		if n >= from && n <= from+24 {
			m.t.Log(l)
		}
	}
}

// cutOff says whether a frame was left behind by a switch: the next one is a key
// frame of another encoding or codec.
func (m *meeting) cutOff(fs []*picked, i int) bool {
	a := &m.truth.frames[fs[i].id]
	for _, f := range fs[i+1:] {
		b := &m.truth.frames[f.id]
		if b.key {
			return true
		}
		if b.picture > a.picture+8 {
			return false
		}
	}
	return true
}

// holes counts the numbers that were never sent, but for those where an encoding
// took over, and nacks them: what was dead must be filled then.
func (m *meeting) holes() {
	var missing []uint16
	for i := 1; i < len(m.line); i++ {
		for p := m.line[i-1].pos + 1; p < m.line[i].pos; p++ {
			if m.line[len(m.line)-1].pos-p < 900 {
				missing = append(missing, uint16(p))
			}
		}
	}
	if len(missing) == 0 {
		return
	}
	m.b.pass(time.Second)
	m.bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, missing))
	filled := map[uint16]bool{}
	for _, s := range m.bob.got() {
		filled[s.seq] = true
	}
	for _, n := range missing {
		if !filled[n] {
			m.t.Errorf("number %d is missing for ever (newest %d)", n, uint16(m.line[len(m.line)-1].pos))
		}
	}
}

// targets are what a receiver may want of a scheme.
func (s scheme) targets() (ls []rtpx.Layer) {
	for q := range 3 {
		for t := range 3 {
			if s.layers > 1 {
				ls = append(ls, rtpx.MakeLayer(0, q, t))
			} else {
				ls = append(ls, rtpx.MakeLayer(q, 0, t))
			}
		}
	}
	return ls
}

// TestReceiversAreSatisfied sends every codec through a conference while the
// target of the receiver changes, packets are lost, come again, come late, and
// the numbers wrap. A receiver must be able to decode every frame that it gets.
func TestReceiversAreSatisfied(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]scheme{
		"VP8": vp8Simulcast, "H264": h264Simulcast, "H264-DD": h264DD, "VP9": vp9Simulcast, "VP9-KSVC": vp9KSVC, "VP9-SVC": vp9SVC,
		"AV1": av1Simulcast, "AV1-L3T3_KEY": av1KSVC, "AV1-L3T3": av1SVC,
	} {
		for _, net := range []struct {
			name       string
			lose, swap int
			seeds      uint64
		}{{"clean", 0, 0, 3}, {"late", 0, 40, 4}, {"lossy", 30, 30, 16}} {
			t.Run(name+"/"+net.name, func(t *testing.T) {
				t.Parallel()
				for seed := range net.seeds {
					m := newMeeting(t, seed)
					ls := s.targets()
					if !s.dd && s.codec == rtpx.CodecH264 {
						ls = []rtpx.Layer{2, 64 + 2, 128 + 2}
					}
					m.want(ls[len(ls)-1])
					for n := range 1200 {
						if n%40 == 0 && n < 1000 {
							if l := ls[m.r.IntN(len(ls))]; m.r.IntN(12) == 0 {
								m.want(rtpx.NoLayer)
							} else {
								m.want(l)
							}
						} else if n == 1000 {
							m.want(ls[len(ls)-1])
						}
						m.picture(s, net.lose, net.swap)
					}
					m.deliver(m.n + 100)
					m.take()
					fs := m.frames()
					m.decodable(fs, true)
					m.holes()
					m.lively(fs, s, 40)
					if t.Failed() {
						t.Fatalf("seed %d", seed)
					}
				}
			})
		}
	}
}

// lively checks that bob got the best layer at the end, all temporal layers of it.
func (m *meeting) lively(fs []*picked, s scheme, pictures int) {
	m.t.Helper()
	enc, n := 2, 0
	if s.layers > 1 {
		enc = 0
	}
	for _, f := range fs {
		tf := &m.truth.frames[f.id]
		if tf.enc == enc && tf.codec == s.codec && tf.spatial == s.layers-1 && tf.picture > m.encs[enc].pictures-pictures && f.complete {
			n++
		}
	}
	if n < pictures-8 {
		m.t.Errorf("%d of the last %d pictures in full size", n, pictures)
	}
}
