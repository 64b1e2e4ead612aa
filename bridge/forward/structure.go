package forward

import "confab/bridge/rtpx"

// structure is what is known of the layers of one encoding, and their rates. It
// is guarded by the endpoint's mu.
type structure struct {
	encoding int
	codec    rtpx.Codec // of which it is
	spatial  uint8      // number of spatial layers
	temporal uint8      // number of temporal layers
	heights  [maxSpatial]uint16
	rates    [maxSpatial][maxTemporal]*rate
	// interLayer is when a frame of a spatial layer last referred to the layer
	// below, outside of key pictures. In K-SVC none does, and who receives the
	// layer gets nothing of those below (bridge.md §11.1: soft dependencies).
	interLayer [maxSpatial]int64
	keyTS      uint32 // timestamp of the last key picture (AV1)
	active     uint16 // bit per layer: something arrived lately
	fresh      uint16 // bit per layer: its rate may not be known yet
	lastAt     int64
	settled    int64

	// planned are the layers that the sender's video layers allocation has a bitrate
	// for, fps its frame rates.
	planned [maxSpatial][maxTemporal]bool
	fps     [maxSpatial]uint8
}

// settleEvery is how often silence is looked for.
const settleEvery = int64(100e6)

// init assumes what signalling tells: one spatial and three temporal layers,
// heights that double with each encoding (bridge.md §11.1).
func (s *structure) init(encoding int) {
	s.encoding = encoding
	s.spatial, s.temporal = 1, 3
	s.heights = [maxSpatial]uint16{uint16(min(180<<encoding, 4320))}
}

// learn takes what a parser found in a packet; it returns true when it is news.
func (s *structure) learn(in *rtpx.Info) (news bool) {
	if in.Codec != s.codec {
		// Senders change codecs at run time: layers of the old one mean nothing now.
		news = s.codec != rtpx.CodecOther
		s.codec = in.Codec
		if news {
			s.init(s.encoding)
			s.interLayer, s.active = [maxSpatial]int64{}, 0
			s.planned, s.fps = [maxSpatial][maxTemporal]bool{}, [maxSpatial]uint8{}
			for i := range s.rates {
				for _, r := range s.rates[i] {
					if r != nil {
						*r = rate{}
					}
				}
			}
		}
	}
	switch {
	case in.Codec == rtpx.CodecVP8:
		if h := min(in.VP8.Width, in.VP8.Height); in.Key && h > 0 {
			news = s.set(0, h) || news
		}
	case in.Codec == rtpx.CodecVP9:
		if in.VP9.HasSS {
			n := min(in.VP9.Layers, maxSpatial)
			news = news || s.spatial != n
			s.spatial = n
			for i := range int(n) {
				if h := in.VP9.Heights[i]; h > 0 {
					news = s.set(i, h) || news
				}
			}
		}
	case in.HasDD && in.DD.HasStructure:
		d := in.DD.Structure
		n, t := min(d.MaxSpatial+1, maxSpatial), min(d.MaxTemporal+1, maxTemporal)
		news = news || s.spatial != n || s.temporal != t
		s.spatial, s.temporal = n, t
		for i := range int(n) {
			if h := d.Heights[i]; h > 0 {
				news = s.set(i, h) || news
			}
		}
	}
	return news
}

func (s *structure) set(spatial int, height uint16) bool {
	old := s.heights[spatial]
	s.heights[spatial] = height
	return old != height
}

// announced takes a video layers allocation, which speaks of all encodings of the
// source; it returns true when it is news.
func (src *source) announced(e []byte) (news bool) {
	var v rtpx.VLA
	if !v.Parse(e) {
		return false
	}
	var planned [maxEncodings][maxSpatial][maxTemporal]bool
	for i := range v.Layers[:v.N] {
		l := &v.Layers[i]
		if int(l.Stream) >= len(src.streams) {
			continue
		}
		s := &src.streams[l.Stream].in.structure
		below := int64(0)
		for t := range int(l.Temporal) {
			planned[l.Stream][l.Spatial][t] = l.Bitrate[t] > below
			below = l.Bitrate[t]
		}
		if h := min(l.Width, l.Height); h > 0 {
			news = s.set(int(l.Spatial), h) || news
			s.fps[l.Spatial] = l.FPS
		}
	}
	for i, st := range src.streams {
		s := &st.in.structure
		// A layer that begins or ends is news, how it goes up and down is not.
		news = news || planned[i] != s.planned
		s.planned = planned[i]
	}
	return news
}

// count adds a packet to the rate of its layer. It returns true when the layer was
// silent for the whole window before.
func (s *structure) count(in *rtpx.Info, n int, now int64) bool {
	sp, t := min(in.Spatial, maxSpatial-1), min(in.Temporal, maxTemporal-1)
	r := s.rates[sp][t]
	if r == nil {
		r = &rate{slot: now / rateBucket}
		s.rates[sp][t] = r
	}
	switch {
	case in.Codec == rtpx.CodecVP9 && in.VP9.InterPicture && in.VP9.InterLayer:
		s.interLayer[sp] = now
	case in.HasDD && in.DD.Start && sp < maxSpatial-1:
		if in.DD.NDiffs == 0 {
			s.keyTS = in.TS
		}
		// Is the frame of use to a target above its layer, but in key pictures?
		for i := range int(in.DD.Structure.Targets) {
			if in.DD.DTIs[i] != rtpx.NotPresent && in.DD.Structure.TargetSpatial[i] > sp && in.TS != s.keyTS {
				s.interLayer[sp+1] = now
				break
			}
		}
	}
	s.lastAt = now
	s.active |= 1 << (sp*maxTemporal + t)
	first := r.frame(n, in.TS, now)
	if first {
		s.fresh |= 1 << (sp*maxTemporal + t)
	}
	return first
}

// live says that something of the encoding arrived within the window.
func (s *structure) live(now int64) bool {
	return s.active != 0 && now-s.lastAt <= rateBuckets*rateBucket
}

// settle returns true when layers fell silent since it was asked last, or the rate of
// some that began became known.
func (s *structure) settle(now int64) (news bool) {
	if s.active == 0 || now-s.settled < settleEvery {
		return false
	}
	s.settled = now
	for sp := range s.rates {
		for t, r := range s.rates[sp] {
			bit := uint16(1) << (sp*maxTemporal + t)
			if s.active&bit != 0 && r.bps(now) == 0 {
				s.active &^= bit
				news = true
			}
			if s.fresh&bit != 0 && !r.fresh(now) {
				s.fresh &^= bit
				news = true
			}
		}
	}
	return news
}

// append adds the layers of the encoding to ls. The bitrate of a layer is that of
// itself with all it depends on; a layer that itself is silent has none.
func (s *structure) append(ls []rtpx.LayerInfo, encoding int, now int64) []rtpx.LayerInfo {
	var below, lastingBelow int64 // of the spatial layers that this one depends on
	fresh := false
	for sp := range int(s.spatial) {
		if sp > 0 && now-s.interLayer[sp] > rateBuckets*rateBucket {
			below, lastingBelow, fresh = 0, 0, false
		}
		fps := 30.0
		if s.fps[sp] > 0 {
			fps = float64(s.fps[sp])
		}
		cum, lasting := below, lastingBelow
		for t := range int(s.temporal) {
			own := int64(0)
			if r := s.rates[sp][t]; r != nil {
				own = r.bps(now)
				fresh = fresh || r.fresh(now)
				lasting += r.lastingBPS()
			}
			cum += own
			l := rtpx.LayerInfo{
				ID:     rtpx.MakeLayer(encoding, sp, t),
				Height: int(s.heights[sp]),
				FPS:    fps / float64(int(1)<<(int(s.temporal)-1-t)),
			}
			if own > 0 {
				l.Bitrate, l.Lasting, l.Fresh = cum, lasting, fresh
			}
			ls = append(ls, l)
		}
		below, lastingBelow = cum, lasting
	}
	return ls
}
