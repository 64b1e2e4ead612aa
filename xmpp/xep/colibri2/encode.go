package colibri2

import (
	"strconv"

	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

// Encode writes m.
func (m *Modify) Encode(e *xmpp.Enc) {
	e.Start(elModify, NS).Attr("meeting-id", m.MeetingID).AttrIf("name", m.Name)
	flag(e, "create", m.Create)
	flag(e, "expire", m.Expire)
	if m.NoRTCStat {
		e.Attr("rtcstats-enabled", "false")
	}
	for i := range m.Endpoints {
		m.Endpoints[i].encode(e)
	}
	if m.Connects != nil {
		encodeConnects(e, m.Connects)
	}
	e.End()
}

// String is m as XML.
func (m *Modify) String() string {
	var e xmpp.Enc
	m.Encode(&e)
	return e.String()
}

// Encode writes m.
func (m *Modified) Encode(e *xmpp.Enc) {
	e.Start(elChanged, NS)
	for i := range m.Endpoints {
		m.Endpoints[i].encode(e)
	}
	if m.Feedback != nil {
		encodeMediaSources(e, m.Feedback)
	}
	e.End()
}

// String is m as XML.
func (m *Modified) String() string {
	var e xmpp.Enc
	m.Encode(&e)
	return e.String()
}

func (ep *Endpoint) encode(e *xmpp.Enc) {
	e.Start("endpoint", "").Attr("id", ep.ID)
	flag(e, "create", ep.Create)
	flag(e, "expire", ep.Expire)
	e.AttrIf("stats-id", ep.StatsID).AttrIf("muc-role", ep.MUCRole)
	flag(e, "diarize", ep.Diarize)
	for _, c := range ep.Capabilities {
		e.Start("capability", "").Attr("name", c).End()
	}
	for i := range ep.Media {
		md := &ep.Media[i]
		e.Start("media", "").Attr("type", md.Type)
		jingle.EncodeRTP(e, NS, md.PayloadTypes, md.HdrExts, md.ExtmapAllowMixed)
		e.End()
	}
	if t := ep.Transport; t != nil {
		e.Start("transport", "")
		flag(e, "ice-controlling", t.ICEControlling)
		flag(e, "use-unique-port", t.UseUniquePort)
		flag(e, "ice-restart", t.ICERestart)
		if t.ICE != nil {
			t.ICE.Encode(e)
		}
		if t.SCTP != nil {
			e.Start("sctp", "").AttrIf("role", t.SCTP.Role)
			if t.SCTP.Port != 0 {
				e.Attr("port", strconv.Itoa(t.SCTP.Port))
			}
			e.End()
		}
		e.End()
	}
	if ep.Sources != nil {
		encodeMediaSources(e, *ep.Sources)
	}
	if f := ep.ForceMute; f != nil {
		e.Start("force-mute", "")
		flag(e, "audio", f.Audio)
		flag(e, "video", f.Video)
		e.End()
	}
	if ep.InitialLastN != nil {
		e.Start("initial-last-n", "").Attr("value", strconv.Itoa(*ep.InitialLastN)).End()
	}
	e.End()
}

func encodeMediaSources(e *xmpp.Enc, list []MediaSource) {
	e.Start("sources", "")
	for i := range list {
		ms := &list[i]
		e.Start("media-source", "").Attr("type", ms.Type).AttrIf("id", ms.ID)
		flag(e, "synthetic", ms.Synthetic)
		jingle.EncodeSources(e, ms.Sources, ms.Groups)
		e.End()
	}
	e.End()
}

func flag(e *xmpp.Enc, name string, v bool) {
	if v {
		e.Attr(name, "true")
	}
}
