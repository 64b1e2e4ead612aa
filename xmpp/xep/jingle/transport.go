package jingle

import (
	"strconv"
	"strings"

	"confab/xmpp"
)

// Transport is an ICE-UDP transport (XEP-0176 §5.3) with what rides on it.
type Transport struct {
	Ufrag, Pwd   string
	Generation   int // ice-generation of a restart in place; 0 = none
	RTCPMux      bool
	Fingerprints []Fingerprint
	WebSockets   []string // URLs of the bridge channel
	Candidates   []Candidate
	SCTP         *SCTPMap
}

// Fingerprint is XEP-0320.
type Fingerprint struct {
	Hash    string // sha-256
	Setup   string // actpass, active, passive
	Value   string // upper-case hex pairs with colons
	Cryptex bool   // RFC 9335
}

// Candidate is an ICE candidate.
type Candidate struct {
	ID         string
	Foundation string
	Component  int
	Protocol   string
	Priority   uint32
	IP         string
	Port       uint16
	Type       string // host, srflx, prflx, relay
	RelAddr    string
	RelPort    uint16
	TCPType    string
	Generation int
	Network    int
}

// SCTPMap is XEP-0343.
type SCTPMap struct {
	Number   int // SCTP port
	Protocol string
	Streams  int
}

// ParseTransport reads an ice-udp transport. Candidates that can't be one are
// dropped.
func ParseTransport(el *xmpp.Element) *Transport {
	t := &Transport{Ufrag: el.Get("ufrag"), Pwd: el.Get("pwd")}
	t.Generation, _ = atoi(el.Get("ice-generation"))
	for _, k := range el.Kids {
		switch k.Name {
		case "rtcp-mux":
			t.RTCPMux = true
		case "fingerprint":
			t.Fingerprints = append(t.Fingerprints, Fingerprint{
				Hash: k.Get("hash"), Setup: k.Get("setup"),
				Value: strings.TrimSpace(k.Text), Cryptex: k.Get("cryptex") == "true",
			})
		case "web-socket":
			t.WebSockets = append(t.WebSockets, k.Get("url"))
		case "candidate":
			if c, ok := parseCandidate(k); ok {
				t.Candidates = append(t.Candidates, c)
			}
		case "sctpmap":
			m := &SCTPMap{Protocol: k.Get("protocol")}
			m.Number, _ = atoi(k.Get("number"))
			m.Streams, _ = atoi(k.Get("streams"))
			t.SCTP = m
		}
	}
	return t
}

func parseCandidate(el *xmpp.Element) (Candidate, bool) {
	c := Candidate{
		ID: el.Get("id"), Foundation: el.Get("foundation"), Protocol: strings.ToLower(el.Get("protocol")),
		IP: el.Get("ip"), Type: el.Get("type"), RelAddr: el.Get("rel-addr"), TCPType: el.Get("tcptype"),
	}
	port, err := strconv.ParseUint(el.Get("port"), 10, 16)
	if err != nil || c.IP == "" {
		return c, false
	}
	c.Port = uint16(port)
	prio, err := strconv.ParseUint(el.Get("priority"), 10, 32)
	if err != nil {
		return c, false
	}
	c.Priority = uint32(prio)
	rel, _ := strconv.ParseUint(el.Get("rel-port"), 10, 16)
	c.RelPort = uint16(rel)
	c.Component, _ = atoi(el.Get("component"))
	c.Generation, _ = atoi(el.Get("generation"))
	c.Network, _ = atoi(el.Get("network"))
	return c, true
}

// Encode writes t.
func (t *Transport) Encode(e *xmpp.Enc) {
	e.Start("transport", NSICEUDP).AttrIf("ufrag", t.Ufrag).AttrIf("pwd", t.Pwd)
	if t.Generation > 0 {
		e.Attr("ice-generation", itoa(t.Generation))
	}
	if t.RTCPMux {
		e.Start("rtcp-mux", "").End()
	}
	for _, f := range t.Fingerprints {
		e.Start("fingerprint", NSDTLS).Attr("hash", f.Hash).AttrIf("setup", f.Setup)
		if f.Cryptex {
			e.Attr("cryptex", "true")
		}
		e.Text(f.Value).End()
	}
	for _, url := range t.WebSockets {
		e.Start("web-socket", NSColibri).Attr("url", url).End()
	}
	for i := range t.Candidates {
		t.Candidates[i].encode(e)
	}
	if m := t.SCTP; m != nil {
		e.Start("sctpmap", NSSCTP).Attr("number", itoa(m.Number)).Attr("protocol", m.Protocol).
			Attr("streams", itoa(m.Streams)).End()
	}
	e.End()
}

func (c *Candidate) encode(e *xmpp.Enc) {
	e.Start("candidate", "").AttrIf("id", c.ID).Attr("foundation", c.Foundation).
		Attr("component", itoa(c.Component)).Attr("protocol", c.Protocol).Attr("priority", utoa(c.Priority)).
		Attr("ip", c.IP).Attr("port", itoa(int(c.Port))).Attr("type", c.Type)
	if c.RelAddr != "" {
		e.Attr("rel-addr", c.RelAddr).Attr("rel-port", itoa(int(c.RelPort)))
	}
	e.AttrIf("tcptype", c.TCPType).Attr("generation", itoa(c.Generation)).Attr("network", itoa(c.Network)).End()
}
