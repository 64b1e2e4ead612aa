package forward

import "confab/bridge/rtpx"

// Heard is a packet of audio as a Listener gets it: as receivers do that can't read
// redundant audio, after what is dropped and without what was lost.
type Heard struct {
	Endpoint, Source string
	Format           string // as signalled: "opus"
	PT               uint8
	ClockRate        uint32
	SSRC             uint32
	Number           uint16 // consecutive, except for losses
	TS               uint32
	HasLevel, Voice  bool
	Level            uint8  // RFC 6464: 0 the loudest, 127 silence
	Data             []byte // in Packet, which must be retained to keep it
	Packet           *rtpx.Packet
}

// Listener gets the audio of a conference beside its receivers. Heard runs on the
// goroutine that read the packet and must not wait.
type Listener interface{ Heard(h Heard) }

// Listen has l hear all audio from now on, nil nobody.
func (p *Pipeline) Listen(l Listener) {
	if l == nil {
		p.listener.Store(nil)
		return
	}
	p.listener.Store(&l)
}

// listened hands a packet of audio to the listener. ep.mu is held.
func (st *stream) listened(pkt *rtpx.Packet) {
	ep := st.src.ep
	l := ep.p.listener.Load()
	in := &pkt.Info
	if l == nil || in.For == rtpx.ForRED { // which has come twice, or was made good before
		return
	}
	m := ep.media.Load()
	pt, data := in.PT, in.Payload(pkt.Bytes())
	if m.pt[pt].red {
		var ok bool
		if pt, data, ok = rtpx.REDPrimary(data); !ok || !m.known[pt] || m.pt[pt].Kind != Audio {
			return
		}
	}
	f := &m.pt[pt]
	(*l).Heard(Heard{
		Endpoint: ep.id, Source: st.src.Name, Format: f.Name, PT: pt, ClockRate: f.ClockRate, SSRC: st.SSRC, Number: in.Number, TS: in.TS,
		HasLevel: in.HasLevel, Level: in.Level & 0x7F, Voice: in.Level&0x80 != 0, Data: data, Packet: pkt,
	})
}
