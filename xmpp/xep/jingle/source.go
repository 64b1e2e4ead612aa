package jingle

import (
	"strconv"
	"strings"

	"confab/xmpp"
)

// Semantics of SSRC groups (RFC 5888, RFC 5956 and the simulcast of Chromium).
const (
	SIM = "SIM"
	FID = "FID"
)

// Values of videoType.
const (
	Camera  = "camera"
	Desktop = "desktop"
)

// Source is one SSRC (XEP-0339). SSRC is 0 when the attribute was no number
// below 2^32: no valid source has it.
type Source struct {
	SSRC      uint32
	Name      string // name of the media source, abcd1234-v0
	VideoType string // camera, desktop or ""
	Owner     string // endpoint id from ssrc-info
	MSID      string
}

// SSRCGroup ties SSRCs of one media source together.
type SSRCGroup struct {
	Semantics string
	SSRCs     []uint32
}

// ParseSources reads the sources and groups directly below el. Sources without
// an ssrc attribute (rid only) are skipped.
func ParseSources(el *xmpp.Element) (srcs []Source, groups []SSRCGroup) {
	for _, k := range el.Kids {
		switch k.Name {
		case "source":
			ssrc, ok := k.Lookup("ssrc")
			if !ok {
				continue
			}
			s := Source{SSRC: parseSSRC(ssrc), Name: k.Get("name"), VideoType: k.Get("videoType")}
			for _, q := range k.Kids {
				switch q.Name {
				case "parameter":
					if q.Get("name") == "msid" {
						s.MSID = q.Get("value")
					}
				case "ssrc-info":
					s.Owner = q.Get("owner")
					if i := strings.LastIndexByte(s.Owner, '/'); i >= 0 { // an occupant JID
						s.Owner = s.Owner[i+1:]
					}
				}
			}
			srcs = append(srcs, s)
		case "ssrc-group":
			g := SSRCGroup{Semantics: k.Get("semantics")}
			for _, q := range k.Kids {
				if q.Name == "source" {
					g.SSRCs = append(g.SSRCs, parseSSRC(q.Get("ssrc")))
				}
			}
			groups = append(groups, g)
		}
	}
	return srcs, groups
}

// EncodeSources writes sources and groups.
func EncodeSources(e *xmpp.Enc, srcs []Source, groups []SSRCGroup) {
	for i := range srcs {
		s := &srcs[i]
		e.Start("source", NSSSMA).Attr("ssrc", utoa(s.SSRC)).AttrIf("name", s.Name).AttrIf("videoType", s.VideoType)
		if s.Owner != "" {
			e.Start("ssrc-info", NSJitMeet).Attr("owner", s.Owner).End()
		}
		if s.MSID != "" {
			e.Start("parameter", "").Attr("name", "msid").Attr("value", s.MSID).End()
		}
		e.End()
	}
	for _, g := range groups {
		e.Start("ssrc-group", NSSSMA).Attr("semantics", g.Semantics)
		for _, ssrc := range g.SSRCs {
			e.Start("source", NSSSMA).Attr("ssrc", utoa(ssrc)).End()
		}
		e.End()
	}
}

func parseSSRC(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
