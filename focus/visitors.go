package focus

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// Visitors (focus.md §19): people who only look on are in a room of their own, on a
// host of their own. The focus sends whoever is too many there, is itself in that
// room, too, and offers its people the same sessions as all others; their sources are
// refused.

// Visitors says where they go.
type Visitors struct {
	Node      string // the host's name in answers: v0; "" = no visitors
	Host      string // their login host, v0.meet.jitsi
	MUC       string // conference.v0.meet.jitsi; a tenant's is conference.TENANT.v0.meet.jitsi
	Component string // who opens their rooms: visitors.meet.example

	// Preferred reports whether the session of a full address takes part whatever
	// happens, as hosts do. It must not wait; nil knows nobody.
	Preferred func(xmpp.JID) bool

	After int           // participants from which on others become visitors (visitors.after)
	Queue bool          // visitors wait until a moderator goes live (visitors.queue)
	Count time.Duration // at least between two publications of their number
}

func (v *Visitors) on() bool { return v.Node != "" }

func (v *Visitors) prefers(from xmpp.JID) bool { return v.Preferred != nil && v.Preferred(from) }

// SetVisitorsAfter changes how many take part before others become visitors.
func (s *Service) SetVisitorsAfter(n int) { s.visitorsAfter.Store(int64(n)) }

// Properties of conference requests and answers.
const (
	propVersion   = "visitors-version"
	propVisitor   = "visitor"
	propSupported = "visitors-supported"
	propLive      = "live"
)

// takesVisitors reports whether the client of a request can be a visitor.
func takesVisitors(r *jitmeet.ConferenceRequest) bool { return r.Get(propVersion) != "" }

// asksToVisit reports whether it wants to be one.
func asksToVisit(r *jitmeet.ConferenceRequest) bool {
	return takesVisitors(r) && r.Get(propVisitor) == "true"
}

// notLive is the answer that sends a client to the queue (LJM NOT_LIVE_ERROR).
func notLive(resp *jitmeet.ConferenceResponse) {
	resp.Properties = append(resp.Properties, jitmeet.Property{Name: propLive, Value: "false"})
}

// galleryState is how far the focus is with the room of visitors.
type galleryState uint8

const (
	galleryClosed galleryState = iota
	galleryOpening
	galleryJoining
	galleryOpen
)

// gallery is the room of a conference's visitors.
type gallery struct {
	room, me  xmpp.JID
	state     galleryState
	attempt   int // answers to an earlier one are void
	waiting   []request
	timer     *time.Timer
	published string

	count int // of visitors
	told  string
	when  time.Time
	later *time.Timer

	codecs map[string]*codecRank
	listed int // visitors who have told their codecs
	shown  string

	expected []time.Time // people who were told to come in and have not
}

// codecRank is how many visitors have a codec, and the sum of its places in their
// lists.
type codecRank struct{ n, sum int }

// expectation is how long somebody who was told to come in counts before it has.
const expectation = 10 * time.Second

func (c *Conference) newGallery() *gallery {
	g := &gallery{codecs: map[string]*codecRank{}}
	v := &c.s.cfg.Visitors
	if prefix, ok := strings.CutSuffix(c.room.Domain, c.s.cfg.Domain); ok && v.on() {
		g.room = xmpp.JID{Local: c.room.Local, Domain: prefix + v.Host} // clients make the same out of hosts.muc
		g.me = g.room.WithResource(Nick)
	}
	return g
}

// ready answers a request once the focus is in the room: with the room itself, the
// visitors' host, or the queue.
func (c *Conference) ready(r request) {
	v := &c.s.cfg.Visitors
	if !v.on() || c.breakout() {
		r.reply(true, nil)
		return
	}
	r.resp.Properties = append(r.resp.Properties, jitmeet.Property{Name: propSupported, Value: strconv.FormatBool(c.visitable())})
	asks := asksToVisit(r.props)
	switch {
	case !takesVisitors(r.props), r.preferred && !asks, !c.redirects(asks):
		c.welcome(r)
	case v.Queue && !c.metadata.VisitorsLive:
		notLive(r.resp)
		r.reply(false, nil)
	case c.gallery.state == galleryOpen:
		c.redirect(r)
	default:
		c.gallery.waiting = append(c.gallery.waiting, r)
		c.openGallery()
	}
}

// visitable reports whether the room takes visitors.
func (c *Conference) visitable() bool {
	return !c.metadata.LobbyEnabled && (c.metadata.VisitorsEnabled == nil || *c.metadata.VisitorsEnabled)
}

// redirects reports whether somebody is to become a visitor.
func (c *Conference) redirects(asks bool) bool {
	if !c.visitable() {
		return false
	}
	limit := int(c.s.visitorsAfter.Load())
	if own := c.metadata.ParticipantsSoftLimit; own != nil && *own > 0 {
		limit = *own
	}
	return asks || c.gallery.state != galleryClosed || c.mainParticipants() >= limit
}

// mainParticipants counts those of the main room, with those who are on their way.
func (c *Conference) mainParticipants() int {
	now := time.Now()
	g := c.gallery
	g.expected = slices.DeleteFunc(g.expected, func(t time.Time) bool { return now.Sub(t) >= expectation })
	n := len(g.expected)
	for _, m := range c.order {
		if !m.visitor && !m.service {
			n++
		}
	}
	return n
}

// welcome lets somebody into the main room.
func (c *Conference) welcome(r request) {
	c.gallery.expected = append(c.gallery.expected, time.Now())
	r.reply(true, nil)
}

// redirect sends somebody to the visitors.
func (c *Conference) redirect(r request) {
	r.resp.VNode = c.s.cfg.Visitors.Node
	r.reply(true, nil)
}

// openGallery has the visitors' room opened and enters it.
func (c *Conference) openGallery() {
	g := c.gallery
	if g.state != galleryClosed {
		return
	}
	g.state = galleryOpening
	g.attempt++
	attempt := g.attempt
	c.s.alias(g.room, c)
	g.timer = c.after(c.s.cfg.JoinTimeout/2, func() {
		if g.attempt == attempt && g.state != galleryOpen {
			c.log.Warn("room of visitors not entered in time")
			c.closeGallery()
		}
	})
	var e xmpp.Enc
	e.Start("visitors", nsVisitors).Attr("room", c.room.String()).Start("connect-vnode", "").Attr("vnode", c.s.cfg.Visitors.Node).End().End()
	get := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, xmpp.JID{Domain: c.s.cfg.Visitors.Component}, e.String())
	c.s.port.Go(get, c.s.cfg.ReplyTimeout, func(_ *xmpp.Stanza, err error) {
		c.post(func() {
			if g.attempt != attempt || g.state != galleryOpening {
				return
			}
			if err != nil {
				c.log.Warn("room of visitors not opened", "err", err)
				c.closeGallery()
				return
			}
			g.state = galleryJoining
			g.published = c.extensions()
			c.s.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, g.me, `<x xmlns="`+nsMUC+`"/>`+g.published))
		})
	})
}

// onGalleryPresence handles the presence of the occupant "focus" among the visitors.
func (c *Conference) onGalleryPresence(s *xmpp.Stanza) {
	g := c.gallery
	switch {
	case s.Type == xmpp.TypeError && g.state == galleryJoining:
		c.log.Warn("room of visitors not entered", "err", s.ErrorOf())
		c.closeGallery()
	case s.Type == xmpp.TypeUnavailable && g.state != galleryClosed:
		c.log.Info("room of visitors ended")
		c.closeGallery()
	case s.Type == "" && g.state == galleryJoining:
		for _, st := range s.Child(nsMUCUser, "x").Children("", "status") {
			if st.Get("code") == "110" {
				c.galleryEntered()
				return
			}
		}
	}
}

func (c *Conference) galleryEntered() {
	g := c.gallery
	g.state = galleryOpen
	stop(g.timer)
	c.log.Info("visitors taken")
	for _, r := range g.waiting {
		c.redirect(r)
	}
	g.waiting = nil
}

// closeGallery forgets the visitors: their room is gone, or can't be had. Who waited
// for it gets into the main room.
func (c *Conference) closeGallery() {
	g := c.gallery
	stop(g.timer)
	g.state = galleryClosed
	g.attempt++
	c.s.unalias(g.room, c)
	for _, m := range slices.Clone(c.order) {
		if m.visitor && c.state != stateEnded {
			c.memberLeft(m, false)
		}
	}
	waiting := g.waiting
	g.waiting = nil
	for _, r := range waiting {
		c.welcome(r)
	}
}

// stopGallery is the part of finish that concerns visitors.
func (c *Conference) stopGallery(shutdown bool) {
	g := c.gallery
	stop(g.timer)
	stop(g.later)
	c.s.unalias(g.room, c)
	c.s.stats.visitors.Add(-int64(g.count))
	if g.state != galleryClosed && !shutdown {
		c.s.port.Send(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", xmpp.JID{}, g.me, ""))
	}
	for _, r := range g.waiting {
		r.reply(false, nil)
	}
	g.waiting = nil
}

// fromGallery reports whether a stanza is from the visitors' room.
func (c *Conference) fromGallery(s *xmpp.Stanza) bool {
	return c.gallery.state != galleryClosed && s.From.Bare() == c.gallery.room
}

// member is the member whose address that is, or nil.
func (c *Conference) member(jid xmpp.JID) *Member {
	if m := c.members[jid.Resource]; m != nil && m.jid == jid {
		return m
	}
	return nil
}

// arrived counts somebody new.
func (c *Conference) arrived(m *Member, s *xmpp.Stanza) {
	g := c.gallery
	if !m.visitor {
		if len(g.expected) > 0 {
			g.expected = g.expected[1:]
		}
		return
	}
	g.count++
	c.heads.visitors.Add(1)
	c.s.stats.visitors.Add(1)
	m.codecs = codecsOf(s)
	g.rank(m.codecs, 1)
	c.tellVisitors()
}

// departed is the opposite.
func (c *Conference) departed(m *Member) {
	if m.visitor {
		c.gallery.count--
		c.heads.visitors.Add(-1)
		c.s.stats.visitors.Add(-1)
		c.gallery.rank(m.codecs, -1)
		c.tellVisitors()
	}
}

// codecsOf is a visitor's list of codecs, best first; vp8 is everybody's.
func codecsOf(s *xmpp.Stanza) []string {
	var out []string
	for name := range strings.SplitSeq(textOr(s.Child(xmpp.NSClient, "jitsi_participant_codecList"), ""), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if known := slices.ContainsFunc(videoCodecs, func(v videoCodec) bool { return v.key == name }); known && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if len(out) > 0 && !slices.Contains(out, "vp8") {
		out = append(out, "vp8")
	}
	return out
}

// rank adds a visitor's list to the others, or takes it out.
func (g *gallery) rank(list []string, n int) {
	if len(list) == 0 {
		return
	}
	g.listed += n
	for i, name := range list {
		r := g.codecs[name]
		if r == nil {
			r = &codecRank{}
			g.codecs[name] = r
		}
		r.n += n
		r.sum += n * i
	}
}

// common are the codecs that all visitors have, those first that most like best.
func (g *gallery) common() string {
	var out []string
	for name, r := range g.codecs {
		if g.listed > 0 && r.n == g.listed {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		if d := g.codecs[a].sum - g.codecs[b].sum; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return strings.Join(out, ",")
}

// tellVisitors publishes what clients want to know about visitors: their codecs at
// once, their number at times.
func (c *Conference) tellVisitors() {
	g := c.gallery
	g.shown = g.common()
	if now := time.Now(); g.later == nil {
		if wait := c.s.cfg.Visitors.Count - now.Sub(g.when); wait <= 0 {
			g.when, g.told = now, strconv.Itoa(g.count)
		} else {
			g.later = c.after(wait, func() {
				g.later = nil
				c.tellVisitors()
			})
		}
	}
	c.publish()
}

// visitorProperties are those of conferences that can have visitors.
func (c *Conference) visitorProperties() (out []jitmeet.Property) {
	if !c.s.cfg.Visitors.on() || c.breakout() {
		return nil
	}
	g := c.gallery
	out = append(out, jitmeet.Property{Name: "visitors-enabled", Value: "true"})
	if g.told != "" {
		out = append(out, jitmeet.Property{Name: "visitor-count", Value: g.told}, jitmeet.Property{Name: "visitor-codecs", Value: g.shown})
	}
	return out
}
