package forward

import "confab/bridge/rtpx"

// video takes a video packet of one of this endpoint's sources. ep.mu is held.
func (ep *Endpoint) video(r route, pkt *rtpx.Packet, m *mediaTable, now int64) {
	st, in := r.st, &pkt.Info
	s := &st.in
	if !m.known[in.PT] {
		ep.stats.unknown.Add(1)
		return
	}
	if r.rtx || m.pt[in.PT].RTX {
		// RFC 4588 §4: the payload type and the FID group say what it carries.
		p := &m.pt[in.PT]
		if !r.rtx || !p.RTX || !m.known[p.Apt] {
			ep.stats.unknown.Add(1)
			return
		}
		if in.PayloadLen() == 0 || !pkt.Unwrap(&in.Header, st.SSRC, p.Apt) {
			ep.stats.discarded.Add(1) // a probe
			return
		}
	} else {
		s.recv.note(in.Seq, in.TS, now, m.pt[in.PT].ClockRate)
	}
	p := &m.pt[in.PT]
	in.Codec = p.Codec

	fresh, lost := s.losses.received(in.Seq, now, &ep.p.e.cfg)
	if !fresh {
		ep.stats.duplicates.Add(1)
		return
	}
	if lost > 0 {
		ep.stats.lost.Add(uint64(lost))
	}
	ep.askLost(st, now)

	drop := ep.mutedVideo.Load() || in.PayloadLen() == 0
	if !drop && !parseVideo(pkt, s, m) {
		ep.stats.malformed.Add(1)
		drop = true
	}
	pos := s.number.Unwrap(in.Seq)
	n, ok := s.gaps.place(pos, drop)
	if !ok {
		ep.stats.discarded.Add(1)
		if n, ok = s.gaps.place(pos, false); !drop || !ok {
			return
		}
		// Its number was kept for it, so the receivers wait for it.
		in.Empty, in.HasDD, in.DDRaw = true, false, nil
	}
	in.Number = uint16(n)
	in.Encoding = st.enc

	if !in.Empty {
		if in.Key && in.TS+1 != s.keyTS {
			s.keyTS = in.TS + 1
			ep.stats.keys.Add(1)
		}
		news := s.structure.learn(in)
		if e, ok := in.Ext(pkt.Bytes(), m.ext.VideoLayers); ok {
			news = st.src.announced(e) || news
		}
		if s.structure.count(in, len(pkt.Bytes()), now) || news {
			// bridge.md §11.1: tell before the packet is handed on. Receivers that
			// are allotted the layer because of it find its key frame in the memory.
			ep.p.layersChanged(st.src.Name)
		}
		in.Overtaken, in.Stale = s.keys.keep(pkt, now, len(s.losses.missing) > 0)
		st.keyAt.Store(s.keys.at)
	}
	st.fanOut(pkt)
}

// parseVideo fills Info from the codec's descriptor and the extensions.
func parseVideo(pkt *rtpx.Packet, s *ingressStream, m *mediaTable) bool {
	in, b := &pkt.Info, pkt.Bytes()
	payload := in.Payload(b)
	in.End = in.Marker
	if e, ok := in.Ext(b, m.ext.Orientation); ok && len(e) == 1 {
		in.HasOrientation, in.Orientation = true, e[0]
	}
	switch in.Codec {
	case rtpx.CodecVP8:
		if !in.VP8.Parse(payload) {
			return false
		}
		in.Start, in.Key, in.Temporal = in.VP8.Start, in.VP8.Key, in.VP8.TID
	case rtpx.CodecVP9:
		v := &in.VP9
		if !v.Parse(payload) {
			return false
		}
		in.Start, in.End = v.Start, v.End
		in.Key = v.Start && v.Key()
		in.Spatial, in.Temporal = v.SID, v.TID
	case rtpx.CodecH264:
		var h rtpx.H264
		if !h.Parse(payload) {
			return false
		}
		// A picture that starts anew begins with its parameter sets, unless the
		// sender gives them elsewhere.
		s.parameterSets = s.parameterSets || h.SPS
		in.Key = h.SPS || h.IDR && !s.parameterSets
		in.Start = in.Key
		parseDependency(pkt, s, m)
	case rtpx.CodecAV1:
		var a rtpx.AV1
		if !a.Parse(payload) {
			return false
		}
		in.Key = a.Key
		in.Start = a.Key
		parseDependency(pkt, s, m)
	}
	return true
}

// parseDependency fills Info from the dependency descriptor, if there is one. It
// is all that can be read of encrypted media (bridge.md §17).
func parseDependency(pkt *rtpx.Packet, s *ingressStream, m *mediaTable) {
	in := &pkt.Info
	e, ok := in.Ext(pkt.Bytes(), m.ext.Dependency)
	if !ok {
		return
	}
	in.HasDD = s.dd.Parse(e, &in.DD)
	in.DDRaw = e
	in.Start, in.End = in.DD.Start, in.DD.End
	in.Spatial, in.Temporal = in.DD.Spatial, in.DD.Temporal
	in.Key = in.HasDD && in.DD.Start && in.DD.HasStructure && in.DD.NDiffs == 0
}

// askLost sends a NACK for what is missing of a stream and due. ep.mu is held.
func (ep *Endpoint) askLost(st *stream, now int64) {
	l := &st.in.losses
	if len(l.missing) == 0 || now < l.due {
		return
	}
	cfg := &ep.p.e.cfg
	interval := int64(cfg.NackInterval)
	if rtt := ep.rtt.Load(); rtt > 0 {
		interval = min(max(rtt+rtt/4, int64(20e6)), interval)
	}
	seqs := l.ask(ep.in.seqs[:0], now, interval, cfg)
	if len(seqs) == 0 || !ep.media.Load().nack {
		return
	}
	ep.stats.nacks.Add(uint64(len(seqs)))
	pkt := cfg.Pool.Get()
	b := rtpx.AppendNACK(pkt.Space()[:0], ep.feedback, st.SSRC, seqs)
	pkt.SetLen(len(b))
	ep.sendRTCP(pkt)
}
