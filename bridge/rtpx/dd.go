package rtpx

import "encoding/binary"

// Limits of the dependency descriptor (AV1 RTP appendix A.8).
const (
	maxTemplates     = 64
	MaxDecodeTargets = 32
	maxFrameDiffs    = 8 // more than any encoder refers to; further ones are a refusal
)

// DTI says what a frame means to a decode target (AV1 RTP appendix A.4).
type DTI uint8

// Indications, in the numbers of the wire.
const (
	NotPresent DTI = iota
	Discardable
	Switch
	Required
)

// DDStructure is a template dependency structure. It is immutable once parsed.
type DDStructure struct {
	Offset  uint8 // template id of the first template
	Targets uint8 // number of decode targets
	Chains  uint8

	// MaxSpatial and MaxTemporal are the highest ids of any template.
	MaxSpatial, MaxTemporal uint8
	// Heights is the smaller render dimension per spatial layer, 0 when not told.
	Heights [8]uint16

	// TargetSpatial and TargetTemporal are the layers that each target decodes.
	TargetSpatial, TargetTemporal [MaxDecodeTargets]uint8

	templates []ddTemplate
}

type ddTemplate struct {
	spatial, temporal uint8
	nDiffs            uint8
	diffs             [maxFrameDiffs]uint16
	dtis              [MaxDecodeTargets]DTI
}

// Target is the decode target for a spatial and temporal layer: the best one
// that needs no more than these and is in the mask of active targets. It
// returns -1 when there is none.
func (s *DDStructure) Target(spatial, temporal int, active uint32) int {
	best, rank := -1, -1
	for i := range int(s.Targets) {
		if active&(1<<i) == 0 {
			continue
		}
		ts, tt := int(s.TargetSpatial[i]), int(s.TargetTemporal[i])
		if ts > spatial || tt > temporal {
			continue
		}
		if r := ts<<3 | tt; r > rank {
			best, rank = i, r
		}
	}
	return best
}

// DD is one dependency descriptor.
type DD struct {
	// Structure is the structure that the descriptor refers to: its own when
	// HasStructure, else the newest of the stream.
	Structure *DDStructure

	Frame        uint16 // frame number
	Template     uint8  // id on the wire
	Spatial      uint8
	Temporal     uint8
	NDiffs       uint8
	Start, End   bool
	HasStructure bool
	HasActive    bool
	Active       uint32 // active decode targets, valid when HasActive

	Diffs [maxFrameDiffs]uint16 // frames that this one refers to: Frame - diff
	DTIs  [MaxDecodeTargets]DTI

	maskAt   uint16 // bit in the descriptor where the mask of active targets is, or would be
	maskBits uint8  // its length there, 0 when it is absent
}

// DDParser parses the descriptors of one RTP stream and keeps its newest
// structure. A structure that is repeated unchanged is not allocated again.
type DDParser struct {
	cur   *DDStructure
	raw   []byte // bytes of the descriptor that brought cur
	frame uint16 // frame that brought cur
}

// lateStructure is by how many frames a key frame may be late: its structure is
// then older than that of the packets to come.
const lateStructure = 64

// Structure is the newest structure, nil before the first.
func (p *DDParser) Structure() *DDStructure { return p.cur }

// Parse reads descriptor e into d. It returns false when the descriptor is
// malformed or refers to a structure that was not seen; of the latter only the
// first five fields of the wire (Start, End, Template, Frame) are valid.
func (p *DDParser) Parse(e []byte, d *DD) bool {
	*d = DD{}
	if len(e) < 3 {
		return false
	}
	d.Start = e[0]&0x80 != 0
	d.End = e[0]&0x40 != 0
	d.Template = e[0] & 0x3F
	d.Frame = binary.BigEndian.Uint16(e[1:])

	r := bits{b: e[3:]}
	var customDTIs, customDiffs bool
	if len(e) > 3 {
		d.HasStructure = r.flag()
		d.HasActive = r.flag()
		customDTIs = r.flag()
		customDiffs = r.flag()
		r.flag() // custom chains: forwarding does not use chains
	}
	s := p.cur
	if d.HasStructure {
		// AV1 RTP appendix A.8.2: only the first packet of a frame carries one.
		if !d.Start {
			d.HasStructure = false
			return false
		}
		if s = p.structure(e, &r, d.Frame); s == nil {
			d.HasStructure = false
			return false
		}
	}
	if s == nil {
		return false
	}
	d.Structure = s
	d.maskAt = uint16(24 + r.at)
	if d.HasActive {
		d.maskBits = s.Targets
		d.Active = r.u(int(s.Targets))
	} else if d.HasStructure {
		d.HasActive = true
		d.Active = uint32(uint64(1)<<s.Targets - 1)
	}

	i := int(d.Template+maxTemplates-s.Offset) % maxTemplates
	if i >= len(s.templates) {
		return false
	}
	t := &s.templates[i]
	d.Spatial, d.Temporal = t.spatial, t.temporal
	if customDTIs {
		for k := range int(s.Targets) {
			d.DTIs[k] = DTI(r.u(2))
		}
	} else {
		d.DTIs = t.dtis
	}
	if customDiffs {
		for {
			size := r.u(2)
			if size == 0 || r.over {
				break
			}
			if d.NDiffs == maxFrameDiffs {
				return false
			}
			d.Diffs[d.NDiffs] = uint16(r.u(int(4*size)) + 1)
			d.NDiffs++
		}
	} else {
		d.NDiffs, d.Diffs = t.nDiffs, t.diffs
	}
	return !r.over
}

// structure reads a template dependency structure and makes it the newest, unless
// it came late. r stands behind the five flags of e. It returns nil when the
// structure is malformed.
func (p *DDParser) structure(e []byte, r *bits, frame uint16) *DDStructure {
	// The structure lies in the same bits whenever the bytes behind the frame
	// number are equal, whatever frame carries it.
	if p.cur != nil && string(p.raw) == string(e[3:]) {
		r.skip(p.cur.size(e[3:]))
		if r.over {
			return nil
		}
		if SeqNewer(frame, p.frame) {
			p.frame = frame
		}
		return p.cur
	}
	s, ok := parseStructure(r)
	if !ok {
		return nil
	}
	if p.cur != nil && SeqNewer(p.frame, frame) && p.frame-frame < lateStructure {
		return s
	}
	p.cur, p.frame = s, frame
	p.raw = append(p.raw[:0], e[3:]...)
	return s
}

// size is the length in bits of the structure that begins behind five flags.
func (s *DDStructure) size(b []byte) int {
	r := bits{b: b, at: 5}
	walkStructure(&r, nil)
	return r.at - 5
}

func parseStructure(r *bits) (*DDStructure, bool) {
	s := &DDStructure{}
	if !walkStructure(r, s) {
		return nil, false
	}
	return s, true
}

// walkStructure reads template_dependency_structure() (AV1 RTP appendix A.8.2)
// into s, or only over it when s is nil.
func walkStructure(r *bits, s *DDStructure) bool {
	offset := uint8(r.u(6))
	targets := int(r.u(5)) + 1

	// template_layers(): collect into a fixed array first, so that walking
	// allocates nothing.
	var layers [maxTemplates][2]uint8
	var spatial, temporal, maxTemporal uint8
	n := 0
	for {
		if n == maxTemplates || spatial > 7 || temporal > 7 || r.over {
			return false
		}
		layers[n] = [2]uint8{spatial, temporal}
		n++
		next := r.u(2)
		if next == 3 {
			break
		}
		switch next {
		case 1:
			temporal++
			maxTemporal = max(maxTemporal, temporal)
		case 2:
			temporal = 0
			spatial++
		}
	}
	// Each template needs at least its indications and one bit more.
	if n*(2*targets+1) > len(r.b)*8-r.at {
		return false
	}
	var ts []ddTemplate
	if s != nil {
		ts = make([]ddTemplate, n)
	}
	for i := range n {
		for k := range targets {
			v := DTI(r.u(2))
			if s != nil {
				ts[i].dtis[k] = v
			}
		}
	}
	for i := range n {
		count := uint8(0)
		for r.flag() {
			v := uint16(r.u(4)) + 1
			if count == maxFrameDiffs || r.over {
				return false
			}
			if s != nil {
				ts[i].diffs[count] = v
			}
			count++
		}
		if s != nil {
			ts[i].nDiffs = count
		}
	}
	chains := int(r.ns(uint32(targets) + 1))
	if chains > 0 {
		for range targets {
			r.ns(uint32(chains))
		}
		r.skip(4 * n * chains)
	}
	var heights [8]uint16
	if r.flag() {
		for i := range int(spatial) + 1 {
			w, h := r.u(16)+1, r.u(16)+1
			heights[i] = uint16(min(w, h, 0xFFFF))
		}
	}
	if r.over {
		return false
	}
	if s == nil {
		return true
	}
	s.Offset, s.Targets, s.Chains = offset, uint8(targets), uint8(chains)
	s.MaxSpatial, s.MaxTemporal = spatial, maxTemporal
	s.Heights = heights
	s.templates = ts
	for i := range ts {
		ts[i].spatial, ts[i].temporal = layers[i][0], layers[i][1]
		for k := range targets {
			if ts[i].dtis[k] != NotPresent {
				s.TargetSpatial[k] = max(s.TargetSpatial[k], ts[i].spatial)
				s.TargetTemporal[k] = max(s.TargetTemporal[k], ts[i].temporal)
			}
		}
	}
	return true
}

// Templates is the number of templates; their ids begin with Offset.
func (s *DDStructure) Templates() int { return len(s.templates) }

// DDGrowth is by how many bytes PutDD may lengthen a descriptor: five flags and a
// mask of MaxDecodeTargets bits.
const DDGrowth = 5

// PutDD writes descriptor e, from which d was parsed, into dst with another frame
// number, with template ids that are shifted, and, unless active is 0, with that
// mask of active decode targets. dst must have len(e) + DDGrowth bytes. It
// returns the length.
func (d *DD) PutDD(dst, e []byte, frame uint16, shift uint8, active uint32) int {
	if active == 0 {
		n := copy(dst, e)
		ShiftDD(dst[:n], frame, shift)
		if shift != 0 && d.HasStructure {
			w := bitFields{b: dst[:n], at: 29}
			w.u(uint32(d.Structure.Offset+shift)&(maxTemplates-1), 6)
		}
		return n
	}
	size := len(e) + DDGrowth
	clear(dst[:size])
	w := bitFields{b: dst[:size], at: 24}
	flags := uint32(0)
	if len(e) > 3 {
		flags = uint32(e[3] >> 3)
	}
	copy(dst, e[:3])
	ShiftDD(dst, frame, shift)
	w.u(flags|0x08, 5)
	r := bits{b: e, at: 29}
	if d.HasStructure {
		w.u((r.u(6)+uint32(shift))&(maxTemplates-1), 6)
		w.copy(&r, int(d.maskAt)-r.at)
	}
	w.u(active, int(d.Structure.Targets))
	if len(e) > 3 {
		r.skip(int(d.maskBits))
		w.copy(&r, len(e)*8-r.at)
	}
	return (w.at + 7) / 8
}

// ShiftDD writes another frame number into a copy of a descriptor without
// structure and shifts its template id.
func ShiftDD(e []byte, frame uint16, shift uint8) {
	e[0] = e[0]&0xC0 | (e[0]+shift)&0x3F
	binary.BigEndian.PutUint16(e[1:], frame)
}

// bitFields writes big-endian bit fields over what is there.
type bitFields struct {
	b  []byte
	at int
}

func (w *bitFields) u(v uint32, n int) {
	for i := n - 1; i >= 0; i-- {
		bit := byte(1) << (7 - w.at&7)
		if v>>i&1 != 0 {
			w.b[w.at>>3] |= bit
		} else {
			w.b[w.at>>3] &^= bit
		}
		w.at++
	}
}

// copy moves n bits over.
func (w *bitFields) copy(r *bits, n int) {
	for ; n > 0; n -= 32 {
		k := min(n, 32)
		w.u(r.u(k), k)
	}
}

// bits reads big-endian bit fields. Reading past the end gives zeros and sets over.
type bits struct {
	b    []byte
	at   int
	over bool
}

func (r *bits) flag() bool { return r.u(1) == 1 }

func (r *bits) u(n int) uint32 {
	if r.at+n > len(r.b)*8 {
		r.over = true
		return 0
	}
	var v uint32
	for range n {
		v = v<<1 | uint32(r.b[r.at>>3]>>(7-r.at&7)&1)
		r.at++
	}
	return v
}

func (r *bits) skip(n int) {
	if r.at+n > len(r.b)*8 {
		r.over = true
		return
	}
	r.at += n
}

// ns reads a non-symmetric number below n (AV1 §4.10.7).
func (r *bits) ns(n uint32) uint32 {
	w, x := 0, n
	for x != 0 {
		x >>= 1
		w++
	}
	m := uint32(1)<<w - n
	v := r.u(w - 1)
	if v < m {
		return v
	}
	return v<<1 - m + r.u(1)
}
