package services

import (
	"strings"
	"sync"
	"time"

	"confab/muc"
	"confab/xmpp"
)

// External guards the requests that make external programs do something:
// recorders record, gateways dial (room-services.md §7.1, §7.2). The focus, which
// hands them on, knows moderators, but neither tokens nor network addresses.
type External struct {
	cfg   *ExternalConfig
	tries tries // of this room
}

// ExternalName is the service in the rooms; clients know it by its effects only.
const ExternalName = "external"

// ExternalConfig is shared by all rooms.
type ExternalConfig struct {
	// PerAddress and PerRoom are how many recordings and streams one address, and
	// all in one room, may ask to start or stop in a minute; 0 is no limit.
	PerAddress, PerRoom int
	Now                 func() time.Time // nil is time.Now

	mu        sync.Mutex
	addresses map[string]*tries
}

// maxAddresses bounds what is remembered; the least that is needed is the
// addresses of the last minute.
const maxAddresses = 10000

// NewExternal makes the service of a room; it fits muc.Config.Services.
func NewExternal(cfg *ExternalConfig) func(*muc.Room) muc.RoomService {
	return func(*muc.Room) muc.RoomService { return &External{cfg: cfg} }
}

// Name implements muc.RoomService.
func (*External) Name() string { return ExternalName }

const (
	nsJibri = "http://jitsi.org/protocol/jibri"
	nsRayo  = "urn:xmpp:rayo:1"
)

// Request implements muc.Requests.
func (x *External) Request(r *muc.Room, t *muc.Seat, to *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if !to.Admin() || s.Type != xmpp.TypeSet {
		return s, nil
	}
	switch ns, name := s.PayloadName(); {
	case ns == nsJibri && name == "jibri":
		return s, x.record(t, s.Payload())
	case ns == nsRayo && name == "dial":
		return dial(r, t, s)
	}
	return s, nil
}

// record judges <jibri/>. A stop seldom says what it stops (§7.1): either
// permission will do.
func (x *External) record(t *muc.Seat, el *xmpp.Element) error {
	o := t.Occ()
	switch strings.ToLower(el.Get("action")) {
	case "start":
		feature := "livestreaming"
		if strings.EqualFold(el.Get("recording_mode"), "file") {
			feature = "recording"
		}
		if !o.Allowed(feature) {
			return xmpp.Forbidden("")
		}
	case "stop":
		if !o.Allowed("recording") && !o.Allowed("livestreaming") {
			return xmpp.Forbidden("")
		}
	default:
		return nil // the focus refuses what there is none of
	}
	addr := t.Client.Addr
	if addr == "" {
		addr = o.Bare().String()
	}
	if now := x.cfg.now(); !x.cfg.allow(now, addr) || !x.tries.allow(now, x.cfg.PerRoom) {
		return &xmpp.StanzaError{Type: "wait", Cond: "policy-violation"}
	}
	return nil
}

// dial judges <dial/>, and has its headers say what is true: the gateway goes to
// the room that they name.
func dial(r *muc.Room, t *muc.Seat, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	el, o := s.Payload(), t.Occ()
	feature := "outbound-call"
	if strings.EqualFold(el.Get("to"), "jitsi_meet_transcribe") {
		feature = "transcription"
	}
	var room, password string
	for _, h := range el.Children("", "header") {
		switch h.Get("name") {
		case "JvbRoomName":
			room = h.Get("value")
		case "JvbRoomPassword":
			password = h.Get("value")
		}
	}
	j, err := xmpp.ParseJID(room)
	// mod_filter_iq_rayo asks owners where there are no features.
	if err != nil || j != r.JID() || o.HasFeatures() && !o.Feature(feature) || !o.HasFeatures() && r.Affiliation(o.Bare()) != muc.AffOwner {
		return nil, xmpp.Forbidden("")
	}
	user, group := identity(t.Client.Identity)
	if byUser, byGroup := o.Grantor(); user == "" && group == "" {
		user, group = byUser, byGroup // who made a moderator of it answers for it
	}
	var e xmpp.Enc
	e.Start("dial", nsRayo).AttrIf("from", el.Get("from")).AttrIf("to", el.Get("to"))
	for _, h := range [][2]string{
		{"X-outbound-call-initiator-user", user}, {"X-outbound-call-initiator-group", group},
		{"JvbRoomName", room}, {"JvbRoomPassword", password},
	} {
		if h[1] != "" {
			e.Start("header", nsRayo).Attr("name", h[0]).Attr("value", h[1]).End()
		}
	}
	return s.WithoutChild(nsRayo, "dial").WithChild(e.End().String()), nil
}

// identity reads the ids out of the <identity/> that a verified token made.
func identity(text string) (user, group string) {
	if text == "" {
		return "", ""
	}
	el, err := xmpp.ParseElement(text, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil {
		return "", ""
	}
	return el.Child("", "user").ChildText("", "id"), el.ChildText("", "group")
}

func (c *ExternalConfig) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// allow counts a try of an address.
func (c *ExternalConfig) allow(now time.Time, addr string) bool {
	if c.PerAddress <= 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.addresses[addr]
	if t == nil {
		if c.addresses == nil {
			c.addresses = map[string]*tries{}
		}
		if len(c.addresses) >= maxAddresses {
			c.forget(now)
		}
		t = &tries{}
		c.addresses[addr] = t
	}
	return t.allow(now, c.PerAddress)
}

// forget makes room: the addresses of more than a minute ago go, and if these are
// few, others, so many that it is not to be done for each that comes.
func (c *ExternalConfig) forget(now time.Time) {
	for a, t := range c.addresses {
		if !now.Before(t.until) {
			delete(c.addresses, a)
		}
	}
	for a := range c.addresses {
		if len(c.addresses) <= maxAddresses/2 {
			return
		}
		delete(c.addresses, a)
	}
}

// tries are those of the present minute.
type tries struct {
	until time.Time
	n     int
}

func (t *tries) allow(now time.Time, limit int) bool {
	if !now.Before(t.until) {
		t.until, t.n = now.Add(time.Minute), 0
	}
	t.n++
	return limit <= 0 || t.n <= limit
}
