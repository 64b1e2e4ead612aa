package rtpx

import (
	"slices"
	"strings"
	"testing"

	"github.com/pion/rtcp"
)

// judge reads what we wrote with pion/rtcp.
func judge[T rtcp.Packet](t *testing.T, b []byte) T {
	t.Helper()
	ps, err := rtcp.Unmarshal(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	p, ok := ps[0].(T)
	if !ok || len(ps) != 1 {
		t.Fatalf("%T", ps[0])
	}
	return p
}

func marshal(t testing.TB, ps ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(ps)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRTCPWriters(t *testing.T) {
	t.Parallel()
	sr := judge[*rtcp.SenderReport](t, AppendSR(nil, 1, SenderInfo{NTP: 2, TS: 3, Packets: 4, Octets: 5}))
	if sr.SSRC != 1 || sr.NTPTime != 2 || sr.RTPTime != 3 || sr.PacketCount != 4 || sr.OctetCount != 5 {
		t.Error(sr)
	}
	rr := judge[*rtcp.ReceiverReport](t, AppendRR(nil, 7, []ReportBlock{
		{SSRC: 1, Fraction: 2, Lost: 3, Highest: 4, Jitter: 5, LSR: 6, DLSR: 7}, {SSRC: 9, Lost: 1 << 30},
	}))
	want := rtcp.ReceptionReport{SSRC: 1, FractionLost: 2, TotalLost: 3, LastSequenceNumber: 4, Jitter: 5, LastSenderReport: 6, Delay: 7}
	if rr.SSRC != 7 || len(rr.Reports) != 2 || rr.Reports[0] != want || rr.Reports[1].TotalLost != 1<<23-1 {
		t.Error(rr)
	}
	lost := []uint16{65530, 65533, 10, 11, 26, 27, 500}
	n := judge[*rtcp.TransportLayerNack](t, AppendNACK(nil, 1, 2, lost))
	var got []uint16
	for _, p := range n.Nacks {
		got = append(got, p.PacketList()...)
	}
	if n.SenderSSRC != 1 || n.MediaSSRC != 2 || !slices.Equal(got, lost) {
		t.Error(got)
	}
	if p := judge[*rtcp.PictureLossIndication](t, AppendPLI(nil, 1, 2)); p.SenderSSRC != 1 || p.MediaSSRC != 2 {
		t.Error(p)
	}
	if p := judge[*rtcp.FullIntraRequest](t, AppendFIR(nil, 1, 2, 3)); p.SenderSSRC != 1 || p.FIR[0] != (rtcp.FIREntry{SSRC: 2, SequenceNumber: 3}) {
		t.Error(p)
	}
}

func TestREMB(t *testing.T) {
	t.Parallel()
	for _, bps := range []uint64{0, 1, 1<<18 - 1, 1 << 18, 2_500_000, 1 << 40} {
		b := AppendREMB(nil, 7, bps, []uint32{11, 12})
		p, rest, ok := NextRTCP(b)
		got, is := p.REMB()
		if !ok || !is || len(rest) != 0 || p.Sender() != 7 || got > bps || bps-got > bps>>17 || b[16] != 2 || len(b) != 28 {
			t.Errorf("%d: %d %v %x", bps, got, is, b)
		}
	}
}

func TestRTCPCompound(t *testing.T) {
	t.Parallel()
	b := marshal(t,
		&rtcp.SenderReport{SSRC: 1, NTPTime: 0x1122334455667788, RTPTime: 9, PacketCount: 10, OctetCount: 11,
			Reports: []rtcp.ReceptionReport{{SSRC: 5, FractionLost: 6, TotalLost: 7, LastSequenceNumber: 8, Jitter: 9, LastSenderReport: 10, Delay: 11}}},
		&rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: 1, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: "x"}}}}},
		&rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: 2, Nacks: []rtcp.NackPair{{PacketID: 3, LostPackets: 5}}},
		&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 3},
		&rtcp.FullIntraRequest{SenderSSRC: 1, FIR: []rtcp.FIREntry{{SSRC: 4, SequenceNumber: 6}}},
		&rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1_500_000, SSRCs: []uint32{2}},
		&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 6, TotalLost: 0xFFFFFF}}},
	)
	var seen int
	for {
		p, rest, ok := NextRTCP(b)
		if !ok {
			break
		}
		b = rest
		seen++
		if p.Sender() != 1 {
			t.Errorf("packet %d: sender %d", seen, p.Sender())
		}
		switch seen {
		case 1:
			s, ok := p.SenderInfo()
			r, ok2 := p.Report(0)
			if !ok || !ok2 || s != (SenderInfo{0x1122334455667788, 9, 10, 11}) || r != (ReportBlock{5, 6, 7, 8, 9, 10, 11}) {
				t.Error(s, r)
			}
			if _, ok := p.Report(1); ok {
				t.Error("second report invented")
			}
		case 3:
			pid, mask, ok := p.NACK(0)
			if !ok || p.Media() != 2 || pid != 3 || mask != 5 {
				t.Error(pid, mask)
			}
			if _, _, ok := p.NACK(1); ok {
				t.Error("second pair invented")
			}
		case 4:
			if !p.Is(TypePSFB, FormatPLI) || p.Media() != 3 {
				t.Error("pli")
			}
		case 5:
			if ssrc, seq, ok := p.FIR(0); !ok || ssrc != 4 || seq != 6 {
				t.Error("fir")
			}
		case 6:
			if bps, ok := p.REMB(); !ok || bps < 1_490_000 || bps > 1_500_000 {
				t.Error("remb", bps)
			}
		case 7:
			if r, ok := p.Report(0); !ok || r.Lost != -1 {
				t.Error("negative loss", r.Lost)
			}
		}
	}
	if seen != 7 {
		t.Error("packets:", seen)
	}
}

// TestTWCC records arrivals with loss, reordering and a wrap, and lets pion and
// our own reader tell what the feedback says.
func TestTWCC(t *testing.T) {
	t.Parallel()
	var r TWCCRecorder
	const ms = int64(1e6)
	base := int64(1_000_000) * ms
	r.Record(65533, base)
	r.Record(65534, base+1*ms)
	r.Record(0, base+100*ms) // 65535 is lost, a large delta
	r.Record(2, base+101*ms)
	r.Record(1, base+102*ms) // late: a negative delta follows for 2
	for i := range 40 {      // a long run
		r.Record(uint16(3+i), base+(103+int64(i))*ms)
	}
	if !r.Pending() {
		t.Fatal("nothing pending")
	}
	b := r.Append(nil, 11, 22)
	if r.Pending() {
		t.Error("still pending")
	}
	f := judge[*rtcp.TransportLayerCC](t, b)
	if f.SenderSSRC != 11 || f.MediaSSRC != 22 || f.BaseSequenceNumber != 65533 || f.PacketStatusCount != 46 || f.FbPktCount != 0 {
		t.Fatal(f)
	}
	p, _, _ := NextRTCP(b)
	w, ok := p.TWCC()
	if !ok {
		t.Fatal("not read")
	}
	got := map[uint16]int64{}
	for {
		seq, in, at, ok := w.Next()
		if !ok {
			break
		}
		if in {
			got[seq] = at
		}
	}
	if len(got) != 45 {
		t.Fatalf("%d arrivals", len(got))
	}
	if _, ok := got[65535]; ok {
		t.Error("lost packet reported as received")
	}
	for seq, want := range map[uint16]int64{65534: 1, 0: 100, 2: 101, 1: 102, 42: 142} {
		if d := (got[seq] - got[65533]) / 4; d != want {
			t.Errorf("%d: %d ms, want %d", seq, d, want)
		}
	}
	// A late one makes the next feedback begin with it again.
	r.Record(65535, base+150*ms)
	b = r.Append(nil, 11, 22)
	if f = judge[*rtcp.TransportLayerCC](t, b); f.BaseSequenceNumber != 65535 || f.PacketStatusCount < 1 || f.FbPktCount != 1 {
		t.Error(f)
	}
	for r.Pending() {
		b = r.Append(nil, 11, 22)
	}
	if b = r.Append(nil, 11, 22); len(b) != 0 {
		t.Error("feedback about nothing")
	}
}

// TestTWCCGaps: a delta beyond 16 bits and a jump beyond the window start new
// packets and never say what is not true.
func TestTWCCGaps(t *testing.T) {
	t.Parallel()
	var r TWCCRecorder
	r.Record(10, 1e9)
	r.Record(11, 30e9) // 29 s later does not fit in 16 bits of 250 µs
	r.Record(5000, 30.001e9)
	n := 0
	for r.Pending() {
		b := r.Append(nil, 1, 2)
		if len(b) == 0 {
			break
		}
		if len(b) > 1200 {
			t.Errorf("%d bytes", len(b))
		}
		f := judge[*rtcp.TransportLayerCC](t, b)
		for range f.RecvDeltas {
			n++
		}
	}
	if n != 1 { // 10 and 11 fell out of the window of 1024
		t.Error("arrivals reported:", n)
	}
	r = TWCCRecorder{}
	r.Record(10, 1e9)
	r.Record(11, 30e9)
	n = 0
	for r.Pending() {
		f := judge[*rtcp.TransportLayerCC](t, r.Append(nil, 1, 2))
		n += len(f.RecvDeltas)
	}
	if n != 2 {
		t.Error("arrivals reported:", n)
	}
}

// TestTWCCSkip: a short packet may claim thousands of statuses; passing over them
// costs no more than the packet is long, and times go on behind.
func TestTWCCSkip(t *testing.T) {
	t.Parallel()
	b := []byte{0x8F, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF, 0xF0, 0x20, 0x02, 0, 0, 1, 0,
		0x20, 0x01, 0x1F, 0xFF, 0x20, 0x02, 9, 3} // one arrived, 8191 missing, two arrived
	p, _, ok := NextRTCP(b)
	w, ok2 := p.TWCC()
	if !ok || !ok2 || w.Statuses != 0x2002 {
		t.Fatal(ok, ok2, w.Statuses)
	}
	w.Skip(5000)
	if seq, in, _, ok := w.Next(); !ok || in || seq != 0xFFF0+5000-1<<16 {
		t.Error(seq, in, ok)
	}
	w.Skip(8191 - 5000)
	if seq, in, at, ok := w.Next(); !ok || !in || seq != 0xFFF0+8192-1<<16 || at != 256+9+3 {
		t.Error(seq, in, at, ok)
	}
	w.Skip(1 << 20)
	if _, _, _, ok := w.Next(); ok {
		t.Error("more than all")
	}
}

func TestTWCCAllocs(t *testing.T) {
	var r TWCCRecorder
	buf := make([]byte, 0, BufferSize)
	seq, now := uint16(0), int64(1e9)
	if n := testing.AllocsPerRun(100, func() {
		for range 50 {
			seq++
			now += 1e6
			r.Record(seq, now)
		}
		for r.Pending() {
			r.Append(buf, 1, 2)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRTCP(f *testing.F) {
	f.Add(marshal(f, &rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: 2, Nacks: []rtcp.NackPair{{PacketID: 3, LostPackets: 5}}},
		&rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1_500_000, SSRCs: []uint32{2}}))
	var r TWCCRecorder
	for i := range 30 {
		r.Record(uint16(i*i), int64(i)*7e6)
	}
	f.Add(r.Append(nil, 1, 2))
	f.Add(AppendSR(nil, 1, SenderInfo{}))
	f.Add([]byte("\xaf\xcd\x00\"0000000000\x9600000\x960A0A0 0 0 0 0 0A0A0A0A0A0A0A0A0A0A0A0A0A0A0" + // ends before its deltas
		" 0 0 0\x960\x960 " + strings.Repeat("0", 67)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for range 1000 {
			p, rest, ok := NextRTCP(b)
			if !ok {
				return
			}
			b = rest
			p.SenderInfo()
			p.REMB()
			for i := range 40 {
				p.Report(i)
				p.NACK(i)
				p.FIR(i)
			}
			if w, ok := p.TWCC(); ok {
				walked, skipped := w, w
				for range 5 {
					walked.Next()
				}
				skipped.Skip(5)
				s1, in1, at1, ok1 := walked.Next()
				if s2, in2, at2, ok2 := skipped.Next(); ok1 && (s1 != s2 || in1 != in2 || at1 != at2 || !ok2) {
					t.Fatal("skipping is not walking")
				}
				n := 0
				for {
					if _, _, _, ok := w.Next(); !ok {
						break
					}
					n++
				}
				if n > int(w.Statuses) {
					t.Fatal("more statuses than said")
				}
			}
		}
	})
}

func FuzzTWCCRecorder(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 1, 0, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		var r TWCCRecorder
		seq, now := uint16(65000), int64(1e9)
		for len(in) >= 2 {
			seq += uint16(int8(in[0])) * 9
			now += int64(in[1]) * int64(in[1]) * 1e6
			in = in[2:]
			r.Record(seq, now)
			if len(in)%7 == 0 {
				for k := 0; r.Pending(); k++ {
					b := r.Append(nil, 1, 2)
					if len(b) == 0 {
						break
					}
					if _, err := rtcp.Unmarshal(b); err != nil || len(b) > 1400 || k > 2000 {
						t.Fatalf("%d bytes, packet %d: %v", len(b), k, err)
					}
				}
			}
		}
	})
}
