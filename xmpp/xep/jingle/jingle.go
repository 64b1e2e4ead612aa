package jingle

import (
	"errors"
	"strings"

	"confab/xmpp"
)

// Jingle is one <jingle/> element.
type Jingle struct {
	Action        string
	SID           string
	Initiator     string
	Responder     string
	Contents      []Content
	Group         *Group         // BUNDLE; every offer needs exactly one
	StartMuted    *StartMuted    // for clients of 2021
	BridgeSession *BridgeSession // in offers, restart requests and session-info
	ICEState      string         // text of <ice-state/> in session-info
	Reason        *Reason        // of session-terminate
	Sources       CompactSources // the json-message form of sources
	BadSources    bool           // read only: there was a json-message that could not be read
}

// Content is one m-line's worth of description and transport.
type Content struct {
	Creator      string
	Name         string
	Senders      string // meaningless on contents from LJM, which turns the words round
	Description  *Description
	Transport    *Transport
	InitialLastN *int // jitsi:colibri2, in the video content of session-accept
}

// Group is XEP-0338.
type Group struct {
	Semantics string
	Contents  []string
}

// StartMuted asks clients of December 2021 to begin muted.
type StartMuted struct{ Audio, Video bool }

// BridgeSession names the conference's session on a bridge. Clients echo the id
// when they ask for a restart of the session or, in place, of ICE.
type BridgeSession struct {
	ID         string
	Region     string
	Restart    bool
	ICERestart bool
}

// Reason is why a session ends (XEP-0166 §7.4).
type Reason struct{ Cond, Text string }

// ErrNoAction is a jingle element without action.
var ErrNoAction = errors.New("Missing 'action'") //nolint:staticcheck // public text, as jicofo words it

// Parse reads a jingle element.
func Parse(el *xmpp.Element) (*Jingle, error) {
	j := &Jingle{
		Action: el.Get("action"), SID: el.Get("sid"),
		Initiator: el.Get("initiator"), Responder: el.Get("responder"),
	}
	switch j.Action {
	case "":
		return nil, ErrNoAction
	case "addsource": // both aliases are accepted by jicofo
		j.Action = SourceAdd
	case "removesource":
		j.Action = SourceRemove
	}
	for _, k := range el.Kids {
		switch k.Name {
		case "content":
			j.Contents = append(j.Contents, parseContent(k))
		case "group":
			g := &Group{Semantics: k.Get("semantics")}
			for _, c := range k.Children("", "content") {
				g.Contents = append(g.Contents, c.Get("name"))
			}
			j.Group = g
		case "startmuted":
			j.StartMuted = &StartMuted{Audio: k.Get("audio") == "true", Video: k.Get("video") == "true"}
		case "bridge-session":
			j.BridgeSession = &BridgeSession{
				ID: k.Get("id"), Region: k.Get("region"),
				Restart: k.Get("restart") == "true", ICERestart: k.Get("ice-restart") == "true",
			}
		case "ice-state":
			j.ICEState = strings.ToLower(strings.TrimSpace(k.Text))
		case "reason":
			r := &Reason{}
			for _, c := range k.Kids {
				if c.Name == "text" {
					r.Text = c.Text
				} else if r.Cond == "" {
					r.Cond = c.Name
				}
			}
			j.Reason = r
		case "json-message":
			s, err := ParseCompact(k.Text)
			j.Sources, j.BadSources = s, err != nil
		}
	}
	return j, nil
}

func parseContent(el *xmpp.Element) Content {
	c := Content{Creator: el.Get("creator"), Name: el.Get("name"), Senders: el.Get("senders")}
	for _, k := range el.Kids {
		switch k.Name {
		case "description":
			d := parseDescription(k)
			if c.Description != nil { // repeated descriptions of one content are merged
				d.Sources = append(c.Description.Sources, d.Sources...)
				d.Groups = append(c.Description.Groups, d.Groups...)
			}
			c.Description = d
		case "transport":
			if c.Transport == nil {
				c.Transport = ParseTransport(k)
			}
		case "initial-last-n":
			if n, ok := atoi(k.Get("value")); ok {
				c.InitialLastN = &n
			}
		}
	}
	// Sources may stand directly below the content, too.
	srcs, groups := ParseSources(el)
	if len(srcs)+len(groups) > 0 {
		if c.Description == nil {
			c.Description = &Description{Media: c.Name}
		}
		c.Description.Sources = append(c.Description.Sources, srcs...)
		c.Description.Groups = append(c.Description.Groups, groups...)
	}
	return c
}

// Media is the media type of c: what its description says, else its name.
func (c *Content) Media() string {
	if c.Description != nil && c.Description.Media != "" {
		return c.Description.Media
	}
	return c.Name
}

// FirstTransport is the transport of the first content that has one: everything
// is bundled, so it is the transport of all.
func (j *Jingle) FirstTransport() *Transport {
	for i := range j.Contents {
		if t := j.Contents[i].Transport; t != nil {
			return t
		}
	}
	return nil
}

// InitialLastN is the client's lastN at accept time, or nil.
func (j *Jingle) InitialLastN() *int {
	for i := range j.Contents {
		if n := j.Contents[i].InitialLastN; n != nil && *n >= 0 && j.Contents[i].Media() == Video {
			return n
		}
	}
	return nil
}

// Encode writes j.
func (j *Jingle) Encode(e *xmpp.Enc) {
	e.Start("jingle", NS).Attr("action", j.Action).Attr("sid", j.SID).
		AttrIf("initiator", j.Initiator).AttrIf("responder", j.Responder)
	for i := range j.Contents {
		j.Contents[i].encode(e)
	}
	if j.Group != nil {
		e.Start("group", NSGrouping).Attr("semantics", j.Group.Semantics)
		for _, name := range j.Group.Contents {
			e.Start("content", "").Attr("name", name).End()
		}
		e.End()
	}
	if j.StartMuted != nil {
		e.Start("startmuted", NSStartMut).Attr("audio", boolText(j.StartMuted.Audio)).
			Attr("video", boolText(j.StartMuted.Video)).End()
	}
	if j.ICEState != "" {
		e.Leaf("ice-state", NSFocus, j.ICEState)
	}
	if j.Reason != nil {
		e.Start("reason", "").Start(j.Reason.Cond, "").End()
		if j.Reason.Text != "" {
			e.Leaf("text", "", j.Reason.Text)
		}
		e.End()
	}
	if b := j.BridgeSession; b != nil {
		e.Start("bridge-session", NSFocus).AttrIf("id", b.ID).AttrIf("region", b.Region)
		if b.Restart {
			e.Attr("restart", "true")
		}
		if b.ICERestart {
			e.Attr("ice-restart", "true")
		}
		e.End()
	}
	if j.Sources != nil {
		e.Leaf("json-message", NSJitMeet, j.Sources.String())
	}
	e.End()
}

// String is j as XML.
func (j *Jingle) String() string {
	var e xmpp.Enc
	j.Encode(&e)
	return e.String()
}

func (c *Content) encode(e *xmpp.Enc) {
	e.Start("content", "").AttrIf("creator", c.Creator).AttrIf("name", c.Name).AttrIf("senders", c.Senders)
	if c.InitialLastN != nil {
		e.Start("initial-last-n", NSColibri2).Attr("value", itoa(*c.InitialLastN)).End()
	}
	if c.Description != nil {
		c.Description.encode(e)
	}
	if c.Transport != nil {
		c.Transport.Encode(e)
	}
	e.End()
}

// UnknownSession is the error for a session id that is not, or no longer, known.
// LJM ignores it for sessions that it has ended itself.
func UnknownSession() *xmpp.StanzaError {
	se := xmpp.ItemNotFound("")
	se.App = `<unknown-session xmlns="` + NSErrors + `"/>`
	return se
}
