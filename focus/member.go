package focus

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"confab/focus/sources"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jitmeet"
)

// memberState is where a member's media stands (focus.md §29.2).
type memberState uint8

const (
	memberIdle       memberState = iota // no session
	memberAllocating                    // the bridge has been asked for an endpoint
	memberOffered                       // session-initiate is out
	memberActive                        // session-accept is in
)

// Member is an occupant other than the focus.
type Member struct {
	nick string   // endpoint id
	jid  xmpp.JID // room/nick
	real xmpp.JID // full; zero when the room hides it

	affiliation string
	role        string
	service     bool // recorder, SIP gateway or transcriber
	jigasi      bool
	transcriber bool
	user, group string // of its token
	jitsi       bool   // the presence is that of a Jitsi client
	capsKey     string
	features    features
	known       bool // features are known
	statsID     string
	region      string
	diarize     bool     // voices in its audio are to be told apart
	visitor     bool     // in the visitors' room
	codecs      []string // of a visitor, as it joined
	granted     bool     // ownership has been asked for

	sourceInfo             string // as last read
	sendsAudio, sendsVideo bool

	began   time.Time // of its first session
	state   memberState
	attempt int  // of allocation; an answer to an earlier one is void
	settled bool // ended its session itself or refused the offer: not invited again on its own
	fresh   bool // has just joined
	failed  int  // allocations in a row
	retry   *time.Timer
	bs      *bridgeSession
	forced  colibri2.ForceMute // what its bridge was told to drop
	sid     string
	old     []string // ids of its latest sessions that have ended
	iceGen  int

	rewriting bool                   // its bridge tells it of sources, we don't
	mids      bool                   // and which mids they have
	signalled map[string]sources.Set // by endpoint: what this member has been told
	dirty     map[string]bool        // endpoints to tell about
	flush     *time.Timer            // delayed telling

	restarts, iceRestarts limiter
}

// limiter allows events at least every apart and at most n a minute.
type limiter struct{ at []time.Time }

func (l *limiter) allow(now time.Time, every time.Duration, n int) bool {
	l.at = slices.DeleteFunc(l.at, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if len(l.at) >= n || len(l.at) > 0 && now.Sub(l.at[len(l.at)-1]) < every {
		return false
	}
	l.at = append(l.at, now)
	return true
}

// idle reports whether nothing has happened for a minute.
func (l *limiter) idle(now time.Time) bool {
	return len(l.at) == 0 || now.Sub(l.at[len(l.at)-1]) >= time.Minute
}

func (m *Member) stopTimers() {
	stop(m.retry)
	stop(m.flush)
	m.retry, m.flush = nil, nil
}

// moderator reports whether m has moderator rights.
func (m *Member) moderator() bool {
	return m.affiliation == "owner" || m.affiliation == "admin" || m.role == "moderator"
}

// onPresence handles a presence from the room.
func (c *Conference) onPresence(s *xmpp.Stanza) {
	switch nick := s.From.Resource; {
	case nick == "":
		if s.Type == xmpp.TypeError {
			c.onOwnPresence(s) // some services refuse a join from the bare address
		}
	case nick == Nick && c.fromGallery(s):
		c.onGalleryPresence(s)
	case nick == Nick:
		c.onOwnPresence(s)
	case s.Type == xmpp.TypeUnavailable:
		if m := c.member(s.From); m != nil {
			c.memberLeft(m, strings.TrimSpace(textOr(s.Child("", "status"), "")) == "switch_room")
		}
	case s.Type == "":
		c.memberPresence(nick, s)
	}
}

// memberPresence handles an available presence: a join, or news.
func (c *Conference) memberPresence(nick string, s *xmpp.Stanza) {
	m := c.members[nick]
	if m != nil && m.jid != s.From {
		// The rooms of a meeting let nobody have the nick of another.
		c.memberLeft(m, false)
		m = nil
	}
	isNew := m == nil
	if isNew {
		m = &Member{
			nick: nick, jid: s.From, fresh: true, visitor: c.fromGallery(s),
			signalled: map[string]sources.Set{}, dirty: map[string]bool{},
		}
	}
	before := m.rank()
	if item := s.Child(nsMUCUser, "x").Child("", "item"); item != nil {
		m.affiliation, m.role = item.Get("affiliation"), item.Get("role")
		if j, err := xmpp.ParseJID(item.Get("jid")); err == nil {
			m.real = j
		}
	}
	key := m.capsKey
	if caps := s.Child(xmpp.NSCaps, "c"); caps != nil {
		key = capsKey(caps.Get("hash"), caps.Get("ver"))
		m.jitsi = m.jitsi || strings.Contains(caps.Get("node"), "jitsi")
	}
	m.jitsi = m.jitsi || s.Has(xmpp.NSClient, "SourceInfo")
	m.readServices(s, c.s.cfg.TrustedDomains)
	if id := s.Child(xmpp.NSClient, "identity"); id != nil { // the room's word (presence_identity)
		m.user, m.group = id.Child("", "user").ChildText("", "id"), id.ChildText("", "group")
	}
	m.statsID = textOr(s.Child(xmpp.NSClient, "stats-id"), m.statsID)
	m.region = textOr(s.Child(xmpp.NSClient, "jitsi_participant_region"), m.region)
	m.diarize = textOr(s.Child(xmpp.NSClient, "jitsi_participant_diarize"), "") == "true"
	if sends := [2]bool{m.sendsAudio, m.sendsVideo}; c.s.cfg.MaxAudioSenders > 0 || c.s.cfg.MaxVideoSenders > 0 {
		m.readMuted(s)
		if !isNew && sends != [2]bool{m.sendsAudio, m.sendsVideo} {
			defer c.limits()
		}
	}
	changed := key != m.capsKey
	m.capsKey = key
	if isNew {
		c.members[nick] = m
		c.heads.members.Store(int32(len(c.members)))
		c.order = append(c.order, m)
		c.log.Debug("member joined", "endpoint", nick)
		c.occupied = true
		c.stopStart()
		c.arrived(m, s)
		if m.visitor {
			c.discover(m)
			c.memberJoined(m)
			return
		}
		c.limits()
		c.discover(m)
		c.elect()
		c.memberJoined(m)
		return
	}
	if changed {
		c.discover(m)
	}
	if m.rank() != before && !m.visitor {
		c.elect()
		c.enforce(m)
	}
}

// rank is what elections depend on.
func (m *Member) rank() [3]string {
	return [3]string{m.affiliation, m.role, strconv.FormatBool(m.service)}
}

// readServices believes an occupant of a trusted domain that it is a service.
func (m *Member) readServices(s *xmpp.Stanza, trusted []string) {
	m.service, m.jigasi, m.transcriber = false, false, false
	el := s.Child(xmpp.NSClient, "features")
	if el == nil || !slices.Contains(trusted, m.real.Domain) {
		return
	}
	for _, f := range el.Children("", "feature") {
		switch f.Get("var") {
		case jitmeet.FeatureJigasi:
			m.service, m.jigasi = true, true
		case jitmeet.FeatureTranscriber:
			m.service, m.transcriber = true, true
		case jitmeet.FeatureJibri:
			m.service = true
		}
	}
}

// memberJoined invites whoever can be invited now.
func (c *Conference) memberJoined(m *Member) {
	if len(c.members) < c.minParticipants() {
		return
	}
	stop(c.lonely)
	c.lonely = nil
	if c.participants() == 0 {
		for _, o := range c.order { // everybody is asked anew
			o.settled = false
		}
		c.inviteAll()
		return
	}
	c.invite(m)
}

// memberLeft ends what a leaver had. Clients drop its sources by themselves when
// its presence goes: there is no source-remove.
func (c *Conference) memberLeft(m *Member, switching bool) {
	had := m.state != memberIdle
	c.endSession(m, false)
	c.countTime(m)
	delete(c.members, m.nick)
	c.heads.members.Store(int32(len(c.members)))
	c.order = slices.DeleteFunc(c.order, func(o *Member) bool { return o == m })
	for _, o := range c.order {
		delete(o.signalled, m.nick)
		delete(o.dirty, m.nick)
	}
	c.log.Debug("member left", "endpoint", m.nick)
	c.departed(m)
	if c.owner == m {
		c.owner = nil
	}
	now := time.Now()
	if switching {
		c.switched = now
	}
	if len(c.members) == 0 {
		// Who has just gone to a breakout room may not have arrived there.
		switching = switching || now.Sub(c.switched) < c.s.cfg.StartTimeout
		if !switching && c.s.cfg.Linger == 0 && !c.s.hasBreakouts(c.room) {
			c.end("everybody has left")
			return
		}
		c.armStart() // it goes to a side room, or reloads, and may come back
	}
	if !m.visitor {
		c.limits()
		c.elect()
	}
	switch n := c.participants(); {
	case n == 0:
		c.dropSessions()
	case n == 1 && (had || len(c.members) < c.minParticipants()) && c.lonely == nil && c.minParticipants() > 1:
		c.armLonely()
	}
	c.publish()
}

// participants counts the members with a session or on the way to one; services
// don't keep a conference alive.
func (c *Conference) participants() int {
	n := 0
	for _, m := range c.order {
		if m.state != memberIdle && !m.service {
			n++
		}
	}
	return n
}

func (c *Conference) armLonely() {
	var t *time.Timer
	t = c.after(c.s.cfg.LonelyTimeout, func() {
		if c.lonely != t {
			return
		}
		c.lonely = nil
		if c.participants() > 1 {
			return
		}
		for _, m := range c.order {
			if m.state != memberIdle {
				c.terminate(m, "expired", "Idle session timeout", false)
			}
		}
		c.dropSessions()
		c.publish()
	})
	c.lonely = t
}

// textOr is the trimmed text of an element, or def when there is none.
func textOr(el *xmpp.Element, def string) string {
	if el == nil {
		return def
	}
	return strings.TrimSpace(el.Text)
}
