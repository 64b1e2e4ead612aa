package forward

import (
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// FuzzPipeline feeds arbitrary RTP and RTCP through a whole conference. Nothing
// may panic or leak; newBed looks at the end.
func FuzzPipeline(f *testing.F) {
	_, v := camera("x", 10, 1)
	for _, p := range v[0].frame(true, 0, 2) {
		f.Add(p.bytes(), uint8(0))
	}
	f.Add((&svc{ssrc: 10, layers: 2}).picture(true)[0][0].bytes(), uint8(0))
	f.Add((&av1{ssrc: 10}).picture(true)[0][0].bytes(), uint8(0))
	f.Add(opus(1, 1, 20).bytes(), uint8(0))
	f.Add(sent{pt: ptVP8RTX, ssrc: 110, payload: append(u16(5), v[0].frame(false, 0, 1)[0].payload...)}.bytes(), uint8(0))
	f.Add(rtpx.AppendNACK(nil, 1, 10, []uint16{1, 2, 3, 60}), uint8(1))
	f.Add(rtpx.AppendFIR(rtpx.AppendPLI(rtpx.AppendSR(nil, 1, rtpx.SenderInfo{NTP: 1}), 1, 10), 1, 10, 1), uint8(1))
	f.Add(rtpx.AppendRR(nil, 1, []rtpx.ReportBlock{{SSRC: 10, LSR: 1}}), uint8(1))
	f.Fuzz(func(t *testing.T, raw []byte, kind uint8) {
		if len(raw) > rtpx.BufferSize {
			return
		}
		b := newBed(t, func(c *Config) { c.Workers, c.RingSize = 1, 64 })
		cam, v := camera("alice-v0", 10, 2)
		alice := b.join("alice", mic("alice-a0", 1), cam)
		bob := b.join("bob")
		bob.SetTarget("alice-v0", rtpx.MakeLayer(1, 2, 2))
		alice.send(v[0].frame(true, 0, 2)...)
		for i := range 3 {
			b.pass(50 * time.Millisecond)
			for _, c := range []*client{alice, bob} {
				pkt := b.pool.Get()
				pkt.SetLen(copy(pkt.Space(), raw))
				if len(raw) > 3 {
					pkt.Space()[3] += byte(i)
				}
				pkt.Arrived = b.now.Load()
				if kind%2 == 0 {
					c.RTP(pkt)
				} else {
					c.RTCP(pkt)
				}
				pkt.Release()
			}
			b.e.Tick()
		}
		alice.send(v[0].frame(false, 0, 2)...)
		bob.got()
	})
}
