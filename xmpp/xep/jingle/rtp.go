package jingle

import (
	"strconv"

	"confab/xmpp"
)

// Description is an RTP description (XEP-0167 §6).
type Description struct {
	Media            string
	MaxPTime         int
	PayloadTypes     []PayloadType
	HdrExts          []HdrExt
	ExtmapAllowMixed bool
	RTCPMux          bool
	Sources          []Source
	Groups           []SSRCGroup
}

// PayloadType is a codec offered or accepted.
type PayloadType struct {
	ID         uint8
	Name       string
	ClockRate  int
	Channels   int // at least 1 when read; written when above 1
	Parameters []Parameter
	Feedback   []Feedback
}

// Parameter is a format parameter. RED's has no name.
type Parameter struct{ Name, Value string }

// Feedback is XEP-0293.
type Feedback struct{ Type, Subtype string }

// HdrExt is XEP-0294.
type HdrExt struct {
	ID  int
	URI string
}

// Get is the value of a format parameter, or "".
func (p *PayloadType) Get(name string) string {
	for _, q := range p.Parameters {
		if q.Name == name {
			return q.Value
		}
	}
	return ""
}

func parseDescription(el *xmpp.Element) *Description {
	d := &Description{Media: el.Get("media")}
	d.MaxPTime, _ = atoi(el.Get("maxptime"))
	d.PayloadTypes, d.HdrExts, d.ExtmapAllowMixed = ParseRTP(el)
	d.RTCPMux = el.Child("", "rtcp-mux") != nil
	d.Sources, d.Groups = ParseSources(el)
	return d
}

// ParseRTP reads the payload types and header extensions below el: a description
// or colibri2's <media/>.
func ParseRTP(el *xmpp.Element) (pts []PayloadType, exts []HdrExt, allowMixed bool) {
	for _, k := range el.Kids {
		switch k.Name {
		case "payload-type":
			id, err := strconv.ParseUint(k.Get("id"), 10, 7)
			if err != nil {
				continue // there is no such RTP payload type
			}
			p := PayloadType{ID: uint8(id), Name: k.Get("name")}
			p.ClockRate, _ = atoi(k.Get("clockrate"))
			// XEP-0167 §7.2: no channels attribute means one. LJM writes 1 out.
			if p.Channels, _ = atoi(k.Get("channels")); p.Channels < 1 {
				p.Channels = 1
			}
			for _, q := range k.Kids {
				switch q.Name {
				case "parameter":
					p.Parameters = append(p.Parameters, Parameter{q.Get("name"), q.Get("value")})
				case "rtcp-fb":
					p.Feedback = append(p.Feedback, Feedback{q.Get("type"), q.Get("subtype")})
				}
			}
			pts = append(pts, p)
		case "rtp-hdrext":
			// RFC 8285 §4.3: two-byte headers have ids 1 to 255.
			id, err := strconv.ParseUint(k.Get("id"), 10, 8)
			if err != nil || id == 0 {
				continue
			}
			exts = append(exts, HdrExt{int(id), k.Get("uri")})
		case "extmap-allow-mixed":
			allowMixed = true
		}
	}
	return pts, exts, allowMixed
}

func (d *Description) encode(e *xmpp.Enc) {
	e.Start("description", NSRTP).AttrIf("media", d.Media)
	if d.MaxPTime > 0 {
		e.Attr("maxptime", itoa(d.MaxPTime))
	}
	EncodeRTP(e, NSRTP, d.PayloadTypes, d.HdrExts, d.ExtmapAllowMixed)
	EncodeSources(e, d.Sources, d.Groups)
	if d.RTCPMux {
		e.Start("rtcp-mux", "").End()
	}
	e.End()
}

// EncodeRTP writes payload types and header extensions below an element of
// namespace parentNS.
func EncodeRTP(e *xmpp.Enc, parentNS string, pts []PayloadType, exts []HdrExt, allowMixed bool) {
	ns := NSRTP
	if parentNS == NSRTP {
		ns = ""
	}
	for i := range pts {
		p := &pts[i]
		e.Start("payload-type", ns).Attr("id", itoa(int(p.ID))).AttrIf("name", p.Name).Attr("clockrate", itoa(p.ClockRate))
		if p.Channels > 1 {
			e.Attr("channels", itoa(p.Channels))
		}
		for _, q := range p.Parameters {
			e.Start("parameter", "").AttrIf("name", q.Name).Attr("value", q.Value).End()
		}
		for _, f := range p.Feedback {
			e.Start("rtcp-fb", NSRTCPFB).Attr("type", f.Type).AttrIf("subtype", f.Subtype).End()
		}
		e.End()
	}
	for _, x := range exts {
		e.Start("rtp-hdrext", NSHdrExt).Attr("id", itoa(x.ID)).Attr("uri", x.URI).End()
	}
	if allowMixed {
		e.Start("extmap-allow-mixed", NSHdrExt).End()
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// atoi reads a decimal integer of sane size.
func atoi(s string) (int, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
