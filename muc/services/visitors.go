package services

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"confab/muc"
	"confab/xmpp"
)

// VisitorsName is the service, its identity and the type of its messages.
const VisitorsName = "visitors" // also policy.VisitorsName, which finds it by that

const nsVisitors = "jitsi:visitors"

// Bounds of what a room remembers: addresses of people who have left, and of visitors
// who were let in; of a visitor's name.
const (
	maxAdmitted    = 5000
	maxVisitorName = 256 // bytes
)

// VisitorsConfig is what visitors' mode needs to know.
type VisitorsConfig struct {
	Domain string   // of the component: visitors.DOMAIN
	Host   string   // where visitors log in: v0.meet.jitsi
	Node   string   // that host's name to the focus: v0
	Focus  xmpp.JID // of the focus, bare: clients look for it in the main room
	// Rooms are those of the visitors, once they are there.
	Rooms func() *muc.Service
	// AutoPromote reports whether whoever raises a hand is let into the main room
	// (visitors.auto_promote); nil says no.
	AutoPromote func() bool
	// Promotions keeps the names under which visitors may log in to the main room.
	Promotions *Promotions
}

// Promotions are the names that visitors have got for their login to a main room.
type Promotions struct {
	mu    sync.Mutex
	names map[string]xmpp.JID // to main room
}

// NewPromotions is an empty list.
func NewPromotions() *Promotions { return &Promotions{names: map[string]xmpp.JID{}} }

// Name is the name if it was given out for a room of that local part, else "".
func (p *Promotions) Name(name, room string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if j, ok := p.names[name]; ok && strings.EqualFold(j.Local, room) {
		return name
	}
	return ""
}

func (p *Promotions) put(name string, room xmpp.JID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names[name] = room
}

func (p *Promotions) drop(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.names, name)
}

// Visitors is the main room's side of visitors' mode: it opens the room of the
// visitors when the focus asks, brings their requests before the moderators, and
// knows who may come in beside the people whom the focus lets in.
type Visitors struct {
	cfg      VisitorsConfig
	from     xmpp.JID
	requests []promotionRequest  // of visitors with a raised hand, in order
	promoted map[string]bool     // by name
	promised map[xmpp.JID]string // the name that an address among the visitors has got
	admitted map[xmpp.JID]bool   // have been in, and left by themselves
	demoted  map[string]struct{} // nicks that are to leave
}

// promotionRequest is a visitor who wants to take part.
type promotionRequest struct {
	visitor xmpp.JID // its address in the room of visitors
	name    string
}

// NewVisitors makes the service of one room; it fits muc.Config.Services.
func NewVisitors(cfg VisitorsConfig) func(*muc.Room) muc.RoomService {
	return func(*muc.Room) muc.RoomService {
		return &Visitors{
			cfg: cfg, from: xmpp.JID{Domain: cfg.Domain},
			promoted: map[string]bool{}, promised: map[xmpp.JID]string{}, admitted: map[xmpp.JID]bool{}, demoted: map[string]struct{}{},
		}
	}
}

// Name implements muc.RoomService.
func (*Visitors) Name() string { return VisitorsName }

// Form tells clients that visitors can be had (LJM ChatRoom.discoRoomInfo).
func (*Visitors) Form(_ *muc.Room, f *muc.Form) { f.Bool("muc#roominfo_visitorsEnabled", true) }

// Submit implements muc.Formed: that is not to be changed.
func (*Visitors) Submit(*muc.Room, *muc.Occupant, *muc.Form) error { return nil }

// room is that of the visitors, or nil.
func (v *Visitors) room(r *muc.Room) *muc.Room {
	if sv := v.cfg.Rooms(); sv != nil {
		if sides := r.Sides(sv); len(sides) > 0 {
			return sides[0]
		}
	}
	return nil
}

// Command is the focus's: connect-vnode opens the room of the visitors,
// disconnect-vnode ends it.
func (v *Visitors) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	el := s.Child(nsVisitors, "visitors")
	switch {
	case s.Kind != xmpp.IQ || el == nil:
		return xmpp.ServiceUnavailable("")
	case !o.Admin():
		return xmpp.Forbidden("") // visitors' requests are made by their presence
	}
	for _, k := range el.Kids {
		if k.Get("vnode") != v.cfg.Node {
			return xmpp.ItemNotFound("")
		}
		side := v.room(r)
		switch k.Name {
		case "connect-vnode":
			if side == nil {
				var err error
				if side, err = r.Open(v.cfg.Rooms(), r.JID().Local); err != nil {
					return err
				}
				VisitorRoomOf(side).opened(side)
			}
		case "disconnect-vnode":
			if side != nil {
				side.Destroy(xmpp.JID{}, "Conference ended.", nil)
			}
		default:
			return xmpp.BadRequest("")
		}
	}
	r.Send(s.Result(""))
	return nil
}

// Admit implements policy.Admitter.
func (v *Visitors) Admit(r *muc.Room, j *muc.Join) *xmpp.StanzaError {
	bare, id, moderates := j.Real.Bare(), "", false
	if c := j.Client.Claims; c != nil {
		id, moderates = c.User["id"], c.Moderator
	}
	switch {
	case j.Real.Domain == v.cfg.Host:
		// A visitor's session stays one; it is another that is let in.
	case v.promoted[bare.Local]:
		j.Password = r.Password() // it has been asked for before
		return nil
	case !j.Person(r), j.Client.Host, moderates, j.Returns, v.room(r) == nil, v.auto(r), v.admitted[bare], r.Occupies(j.Real) != nil,
		r.Affiliation(bare) > muc.AffNone, r.Policy().Standing(bare, id) > muc.AffNone:
		return nil
	}
	err := xmpp.NotAllowed("Visitor needs to be allowed by a moderator")
	err.App = `<promotion-not-allowed xmlns="` + nsVisitors + `"/>` // LJM ChatRoom.onPresenceError
	return err
}

// state is what the room's metadata say about visitors.
func visitorState(r *muc.Room) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if err := json.Unmarshal(MetadataOf(r).Value(VisitorsName), &out); err != nil || out == nil {
		return map[string]json.RawMessage{} // moderators may put there anything
	}
	return out
}

// auto reports whether nobody is asked before visitors are let in.
func (v *Visitors) auto(r *muc.Room) bool {
	return v.cfg.AutoPromote != nil && v.cfg.AutoPromote() || string(visitorState(r)["autoPromote"]) == "true"
}

// note changes what the room's metadata say about the promoted.
func (v *Visitors) note(r *muc.Room, nick string, in bool) {
	state := visitorState(r)
	promoted := map[string]bool{}
	_ = json.Unmarshal(state["promoted"], &promoted) // as above
	if promoted == nil || promoted[nick] == in {
		return
	}
	if promoted[nick] = true; !in {
		delete(promoted, nick)
	}
	b, err := json.Marshal(promoted)
	if err != nil {
		return // strings and booleans can be encoded
	}
	state["promoted"] = b
	MetadataOf(r).Set(r, VisitorsName, state)
}

// Joined tells a moderator who waits.
func (v *Visitors) Joined(r *muc.Room, o *muc.Occupant) {
	delete(v.admitted, o.Bare())
	delete(v.demoted, o.Nick)
	if v.promoted[o.Bare().Local] {
		v.note(r, o.Nick, true)
	}
	v.pending(r, o)
}

// Ranked tells somebody who has become moderator who waits.
func (v *Visitors) Ranked(r *muc.Room, o *muc.Occupant, _ muc.Role, _ *muc.Occupant) { v.pending(r, o) }

func (v *Visitors) pending(r *muc.Room, o *muc.Occupant) {
	if o.Admin() || o.Role != muc.RoleModerator {
		return
	}
	for _, q := range v.requests {
		r.Tell(o, v.request(r, q, true))
	}
}

// Left remembers who may come back: it needs no permission again, unless somebody
// has put it out.
func (v *Visitors) Left(r *muc.Room, o *muc.Occupant, why muc.Departure) {
	if o.Admin() {
		return
	}
	_, demoted := v.demoted[o.Nick]
	delete(v.demoted, o.Nick)
	if v.promoted[o.Bare().Local] {
		v.note(r, o.Nick, false)
	}
	switch {
	case demoted:
		r.SetAffiliation(o.Bare(), muc.AffNone)
	case why.Kicked:
	case o.Person() && len(v.admitted) < maxAdmitted:
		v.admitted[o.Bare()] = true
		return
	default:
		return
	}
	v.revoke(o.Bare().Local)
}

// revoke takes a promotion back.
func (v *Visitors) revoke(name string) {
	if v.promoted[name] {
		delete(v.promoted, name)
		v.cfg.Promotions.drop(name)
	}
}

// Ended takes all promotions back.
func (v *Visitors) Ended(*muc.Room) {
	for name := range v.promoted {
		v.cfg.Promotions.drop(name)
	}
}

// visitorsMessage is what moderators say to the service in the room.
type visitorsMessage struct {
	Type     string   `json:"type"`
	Action   string   `json:"action"`
	Approved bool     `json:"approved"`
	ID       string   `json:"id"`
	IDs      []string `json:"ids"`
	Actor    string   `json:"actor"`
}

// parseVisitorsMessage reads one; ok is false when it is for somebody else.
func parseVisitorsMessage(text string) (m visitorsMessage, ok bool) {
	var is struct {
		Type string `json:"type"`
	}
	if json.Unmarshal([]byte(text), &is) != nil || is.Type != VisitorsName {
		return m, false
	}
	if json.Unmarshal([]byte(text), &m) != nil {
		return visitorsMessage{}, true // ours, and no sense in it
	}
	return m, true
}

// Filter takes what moderators answer to requests, and whom they make visitors
// (jitsi-meet sends both as messages to the room).
func (v *Visitors) Filter(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if s.Kind != xmpp.Message {
		return s, nil
	}
	var m visitorsMessage
	ours := false
	if s.Has("", "json-message") {
		for _, el := range s.Elements() { // whichever a client reads
			if el.Name == "json-message" && !ours {
				m, ours = parseVisitorsMessage(el.Text)
			}
		}
	}
	if !ours {
		return s, nil
	}
	if o.Role != muc.RoleModerator {
		return nil, xmpp.Forbidden("")
	}
	switch m.Action {
	case "promotion-response":
		ids := m.IDs
		if m.ID != "" {
			ids = append(ids, m.ID)
		}
		for _, id := range ids {
			v.respond(r, id, m.Approved)
		}
		r.Broadcast(s.With(o.JID(), xmpp.JID{}), func(x *muc.Occupant) bool { return x.Role == muc.RoleModerator && !x.Admin() })
		return nil, nil
	case "demote-request":
		if m.Actor != o.Nick {
			return nil, &xmpp.StanzaError{Type: "cancel", Cond: xmpp.CondBadRequest}
		}
		return nil, v.demote(r, m.ID, m.Actor)
	}
	return nil, xmpp.BadRequest("")
}

// respond answers a visitor that waits; others are no longer there.
func (v *Visitors) respond(r *muc.Room, id string, approved bool) {
	for i, q := range v.requests {
		if q.visitor.String() == id {
			v.requests = slices.Delete(v.requests, i, i+1)
			v.answer(r, q.visitor, approved)
			// The app reads the other moderator's answer only where it is a single yes.
			r.Broadcast(v.request(r, q, false), func(o *muc.Occupant) bool { return o.Role == muc.RoleModerator && !o.Admin() })
			return
		}
	}
}

// answer tells a visitor whether it may come, and under which name (LJM
// strophe.emuc onVisitors: from the room that it is in).
func (v *Visitors) answer(r *muc.Room, visitor xmpp.JID, approved bool) {
	side := v.room(r)
	if side == nil {
		return
	}
	o := side.Occupant(visitor.Resource)
	if o == nil {
		return
	}
	name := ""
	if approved {
		name = v.promise(r, o.Bare())
		approved = name != ""
	}
	var e xmpp.Enc
	e.Start("visitors", nsVisitors).Attr("room", side.JID().String()).Attr("focusjid", v.cfg.Focus.String())
	e.Start("promotion-response", nsVisitors).Attr("jid", visitor.String()).AttrIf("username", name).Attr("allow", strconv.FormatBool(approved)).End().End()
	side.Tell(o, xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, rand.Text(), side.JID(), xmpp.JID{}, e.String()))
}

// promise gives a visitor a name to come back with, one only; "" when there are too
// many.
func (v *Visitors) promise(r *muc.Room, visitor xmpp.JID) string {
	name := v.promised[visitor]
	switch {
	case v.promoted[name]:
		return name
	case len(v.promised) >= maxAdmitted:
		return ""
	}
	name = newName()
	v.promised[visitor], v.promoted[name] = name, true
	v.cfg.Promotions.put(name, r.JID())
	return name
}

// newName is a name for a promoted visitor: a random UUID, of which LJM takes the
// first eight digits for its nick.
func newName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-4%03x-a%03x-%x", b[:4], b[4:6], (uint16(b[6])<<8|uint16(b[7]))&0xfff, (uint16(b[8])<<8|uint16(b[9]))&0xfff, b[10:])
}

// demote asks somebody to become a visitor: its client does the rest.
func (v *Visitors) demote(r *muc.Room, nick, actor string) error {
	target := r.Occupant(nick)
	if target == nil || !target.Person() {
		return xmpp.ItemNotFound("")
	}
	v.demoted[nick] = struct{}{}
	v.revoke(target.Bare().Local)
	b, err := json.Marshal(struct {
		Type   string `json:"type"`
		Action string `json:"action"`
		ID     string `json:"id"`
		Actor  string `json:"actor"`
	}{VisitorsName, "demote-request", nick, actor})
	if err != nil {
		return err
	}
	msg := xmpp.NewStanza(xmpp.Message, "chat", "", v.from, xmpp.JID{}, jsonMessage("", b))
	r.Broadcast(msg, func(o *muc.Occupant) bool { return !o.Admin() && (o == target || o.Role == muc.RoleModerator) })
	return nil
}

// request encodes what moderators are told of a visitor's wish.
func (v *Visitors) request(r *muc.Room, q promotionRequest, on bool) *xmpp.Stanza {
	b, err := json.Marshal(struct {
		Type   string `json:"type"`
		Room   string `json:"room"`
		Action string `json:"action"`
		Nick   string `json:"nick,omitempty"`
		From   string `json:"from"`
		On     bool   `json:"on"`
	}{VisitorsName, r.JID().String(), "promotion-request", q.name, q.visitor.String(), on})
	if err != nil {
		b = []byte(`{"type":"visitors"}`) // strings can be encoded
	}
	return xmpp.NewStanza(xmpp.Message, "", "", v.from, xmpp.JID{}, jsonMessage("", b))
}

// raised is told of a visitor's hand.
func (v *Visitors) raised(r *muc.Room, visitor xmpp.JID, name string, up bool) {
	if len(name) > maxVisitorName {
		name = strings.ToValidUTF8(name[:maxVisitorName], "")
	}
	q := promotionRequest{visitor: visitor, name: name}
	i := slices.IndexFunc(v.requests, func(x promotionRequest) bool { return x.visitor == visitor })
	switch {
	case up && v.auto(r):
		v.answer(r, visitor, true)
		return
	case up && i < 0:
		v.requests = append(v.requests, q)
	case !up && i >= 0:
		q.name = v.requests[i].name
		v.requests = slices.Delete(v.requests, i, i+1)
	default:
		return
	}
	r.Broadcast(v.request(r, q, up), func(o *muc.Occupant) bool { return o.Role == muc.RoleModerator && !o.Admin() })
}

// VisitorsComponent is the address of the service: the focus asks it to open the
// rooms of visitors.
type VisitorsComponent struct{ *Component }

// NewVisitorsComponent takes the requests for the rooms of a MUC.
func NewVisitorsComponent(domain string, rooms *muc.Service, router *xmpp.Router) *VisitorsComponent {
	return &VisitorsComponent{NewComponent(VisitorsName, domain, rooms, router)}
}

// HandleStanza implements xmpp.Handler.
func (c *VisitorsComponent) HandleStanza(ctx context.Context, s *xmpp.Stanza, wait bool) error {
	if ns, _ := s.PayloadName(); s.Kind != xmpp.IQ || !s.IsRequest() || ns != nsVisitors {
		return c.Component.HandleStanza(ctx, s, wait)
	}
	room, err := namedRoom(c.muc, s.Payload())
	if err != nil {
		return err
	}
	return c.muc.Command(ctx, VisitorsName, room, s, wait)
}
