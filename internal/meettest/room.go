package meettest

import (
	"context"
	"crypto/sha1" //nolint:gosec // XEP-0115 hashes with SHA-1
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// Occupant is somebody in the room, as its last presence says.
type Occupant struct {
	Nick, Name        string
	JID               xmpp.JID // real address
	Affiliation, Role string
	Sources           map[string]jitmeet.SourceState
	Presence          *xmpp.Stanza
}

// room is guarded by Client.mu.
type room struct {
	jid       xmpp.JID
	focusJID  string // bare, from the conference response
	occupants map[string]*Occupant
	joined    bool
	left      bool
	joinErr   *xmpp.StanzaError
	kicked    string // reason
	destroyed bool
}

// RoomJID is the address of a room by name.
func (c *Client) RoomJID(name string) xmpp.JID {
	return xmpp.JID{Local: strings.ToLower(name), Domain: c.opt.MUC}
}

// Request asks the focus for a room until it is ready (client-signaling §6.1).
// It returns the focus' bare address; an error may be a *xmpp.StanzaError.
func (c *Client) Request(ctx context.Context, room xmpp.JID) (focus string, err error) {
	if c.opt.Focus != "" {
		return c.opt.Focus, nil
	}
	req := jitmeet.ConferenceRequest{
		Room: room.String(), MachineUID: c.machine,
		Properties: []jitmeet.Property{{Name: "rtcstatsEnabled", Value: "false"}, {Name: "visitors-version", Value: "1"}},
	}
	if c.opt.PreferVisitor {
		req.Properties = append(req.Properties, jitmeet.Property{Name: "visitor", Value: "true"})
	}
	for wait := time.Second; ; wait = min(2*wait, 2*time.Minute) {
		reply, err := c.IQ(ctx, xmpp.TypeSet, "focus."+c.opt.Domain, req.String())
		if err != nil {
			return "", fmt.Errorf("conference request: %w", err)
		}
		el := reply.Child(jitmeet.NSFocus, "conference")
		if el == nil {
			return "", &Fault{"<conference/> with its xmlns in the answer", reply.String()}
		}
		resp := jitmeet.ParseConferenceResponse(el)
		for _, p := range resp.Properties {
			if p.Name == "live" && p.Value == "false" {
				return "", ErrNotLive
			}
		}
		if resp.Ready {
			if j, err := xmpp.ParseJID(resp.FocusJID); err != nil || !j.IsBare() {
				return "", &Fault{"focusjid in the answer, a bare address", reply.String()}
			}
			if resp.VNode != "" {
				return "", &Redirect{Node: resp.VNode, Focus: resp.FocusJID}
			}
			return resp.FocusJID, nil
		}
		retry := time.NewTimer(wait) // LJM asks again after 1, 2, 4 … s
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return "", ctx.Err()
		}
	}
}

// Join requests the conference, enters the room and reads its disco#info. A
// refused join is a *xmpp.StanzaError.
func (c *Client) Join(ctx context.Context, name string) error { return c.JoinPassword(ctx, name, "") }

// JoinPassword is Join for a room with a password.
func (c *Client) JoinPassword(ctx context.Context, name, password string) error {
	return c.Enter(ctx, c.RoomJID(name), password)
}

// Enter is JoinPassword for a room anywhere, such as a breakout room.
func (c *Client) Enter(ctx context.Context, jid xmpp.JID, password string) error {
	focus, err := c.Request(ctx, jid)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.room = &room{jid: jid, focusJID: focus, occupants: map[string]*Occupant{}}
	r := c.room
	c.mu.Unlock()
	if err := c.Send(xmpp.Presence, "", "", c.occupantJID(), c.joinPayload(password)); err != nil {
		return err
	}
	err = c.Until(ctx, "its own presence in "+jid.String(), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return r.joined || r.joinErr != nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	refused := r.joinErr
	c.mu.Unlock()
	if refused != nil {
		return fmt.Errorf("join %s: %w", jid, refused)
	}
	if _, err := c.IQ(ctx, xmpp.TypeGet, jid.String(), `<query xmlns="`+nsDisco+`"/>`); err != nil {
		return fmt.Errorf("disco of the room: %w", err)
	}
	return nil
}

func (c *Client) occupantJID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room.jid.WithResource(c.nick).String()
}

func (c *Client) joinPayload(password string) string {
	var e xmpp.Enc
	e.Start("x", nsMUC)
	if password != "" {
		e.Leaf("password", "", password)
	}
	e.End()
	return e.String() + c.presencePayload("{}")
}

// presencePayload is what LJM puts into every presence (capture
// 2026-lib-join-two-bridge); the join has an empty SourceInfo.
func (c *Client) presencePayload(sourceInfo string) string {
	var e xmpp.Enc
	e.Leaf("stats-id", "", "Go-"+c.nick[:3])
	e.Start("c", "").Attr("hash", "sha-1").Attr("node", "https://jitsi.org/jitsi-meet").
		Attr("ver", capsVer(c.opt.Features)).Attr("xmlns", nsCaps).End()
	e.Leaf("SourceInfo", "", sourceInfo)
	e.Leaf("jitsi_participant_codecList", "", "vp8")
	if c.opt.Name != "" {
		e.Leaf("nick", nsNick, c.opt.Name)
	}
	if since := c.hand.Load(); since != 0 {
		e.Leaf("jitsi_participant_raisedHand", "", strconv.FormatInt(since, 10))
	}
	return e.Raw(c.opt.Presence).String()
}

// capsVer hashes features only: LJM has no identities (client-signaling §8.3).
func capsVer(features []string) string {
	sum := sha1.Sum([]byte(strings.Join(features, "<") + "<")) //nolint:gosec
	return base64.StdEncoding.EncodeToString(sum[:])
}

// updatePresence tells the room about our sources.
func (c *Client) updatePresence() {
	info := map[string]any{}
	for name, muted := range c.local.muteStates() {
		info[name] = map[string]bool{"muted": muted}
	}
	text, _ := json.Marshal(info)
	c.mu.Lock()
	in := c.room != nil && c.room.joined
	c.mu.Unlock()
	if in {
		_ = c.Send(xmpp.Presence, "", "", c.occupantJID(), c.presencePayload(string(text)))
	}
}

func (c *Client) presence(s *xmpp.Stanza, raw string) {
	c.mu.Lock()
	var rule string
	if r := c.room; r != nil && s.From.Bare() == r.jid {
		rule = r.presence(c.nick, s)
	}
	c.mu.Unlock()
	if rule != "" {
		c.fault(rule, raw)
	}
}

// presence takes a presence of the room and returns the rule that it breaks, or
// "". Called with Client.mu held.
func (r *room) presence(self string, s *xmpp.Stanza) (rule string) {
	nick := s.From.Resource
	if s.Type == xmpp.TypeError {
		r.joinErr = s.ErrorOf()
		return ""
	}
	x := s.Child(nsMUCUser, "x")
	if x == nil {
		return "muc#user in every presence of a room"
	}
	if s.Type == xmpp.TypeUnavailable {
		return r.unavailable(self, nick, x)
	}
	item := x.Child("", "item")
	o := &Occupant{
		Nick: nick, Presence: s, Affiliation: item.Get("affiliation"), Role: item.Get("role"),
		Name: text(s.Child(nsNick, "nick")),
	}
	real, err := xmpp.ParseJID(item.Get("jid"))
	if err != nil {
		return "the real address in the item of every presence"
	}
	o.JID = real
	if si := s.Child(xmpp.NSClient, "SourceInfo"); si != nil {
		o.Sources, _ = jitmeet.ParseSourceInfo(si.Text)
	}
	r.occupants[nick] = o
	if nick == "focus" && !strings.HasPrefix(real.String(), r.focusJID+"/") {
		return "the focus' real address begins with focusjid " + r.focusJID
	}
	if nick == self && !r.joined {
		if r.occupants["focus"] == nil {
			return "the focus' presence before one's own"
		}
		r.joined = true
	}
	return ""
}

func text(el *xmpp.Element) string {
	if el == nil {
		return ""
	}
	return strings.TrimSpace(el.Text)
}

// unavailable is called with Client.mu held.
func (r *room) unavailable(self, nick string, x *xmpp.Element) (rule string) {
	if x.Child("", "destroy") != nil {
		r.destroyed, r.left = true, true
		return ""
	}
	codes := map[string]bool{}
	for _, st := range x.Children("", "status") {
		codes[st.Get("code")] = true
	}
	switch {
	case nick == self || codes["110"]:
		r.left = true
		if codes["307"] {
			r.kicked = x.Child("", "item").ChildText("", "reason")
			if r.kicked == "" {
				r.kicked = "no reason"
			}
		}
	case nick == "focus":
		return "the focus never leaves: FOCUS_LEFT ends the meeting for everybody"
	case r.occupants[nick] == nil && codes["307"]:
		// The library throws and strophe removes its handler.
		return "307 only for an occupant whose presence was sent"
	}
	delete(r.occupants, nick)
	return ""
}

// Occupant is the occupant of that nick.
func (c *Client) Occupant(nick string) (Occupant, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room == nil || c.room.occupants[nick] == nil {
		return Occupant{}, false
	}
	return *c.room.occupants[nick], true
}

// Others counts the occupants apart from oneself and the focus.
func (c *Client) Others() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room == nil {
		return 0
	}
	for nick := range c.room.occupants {
		if nick != "focus" && nick != c.nick {
			n++
		}
	}
	return n
}

// Moderator reports whether the own role is moderator.
func (c *Client) Moderator() bool {
	o, _ := c.Occupant(c.nick)
	return o.Role == "moderator"
}

// Kicked is the reason for which the client was kicked, or "".
func (c *Client) Kicked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room == nil {
		return ""
	}
	return c.room.kicked
}

// Gone reports whether the room was left, by oneself or not.
func (c *Client) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room == nil || c.room.left
}

// Chat sends to all; LJM sends without an id.
func (c *Client) Chat(text string) error {
	return c.Send(xmpp.Message, xmpp.TypeGroupchat, "", c.roomJID(), "<body>"+xmpp.Escape(text)+"</body>")
}

// ExpectChat waits for a groupchat message with that text and returns it.
func (c *Client) ExpectChat(ctx context.Context, text string) (*xmpp.Stanza, error) {
	return c.Expect(ctx, "the message "+text, func(s *xmpp.Stanza) bool {
		return s.Kind == xmpp.Message && s.Type == xmpp.TypeGroupchat && bodyOf(s) == text
	})
}

func bodyOf(s *xmpp.Stanza) string {
	if el := s.Child(xmpp.NSClient, "body"); el != nil {
		return el.Text
	}
	return ""
}

func (c *Client) roomJID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room.jid.String()
}

// Mute asks the focus to mute another occupant; media is audio or video.
func (c *Client) Mute(ctx context.Context, nick, media string) error {
	ns := jitmeet.NSAudio
	if media == "video" {
		ns = jitmeet.NSVideo
	}
	m := jitmeet.Mute{NS: ns, JID: c.roomJID() + "/" + nick, Mute: true}
	_, err := c.IQ(ctx, xmpp.TypeSet, c.roomJID()+"/focus", m.String())
	return err
}

// muted is a mute of ours by a moderator; it has effect only from the focus, and
// is never answered.
func (c *Client) muted(s *xmpp.Stanza) {
	if s.From.String() != c.roomJID()+"/focus" {
		return
	}
	for _, ns := range []string{jitmeet.NSAudio, jitmeet.NSVideo} {
		if el := s.Child(ns, "mute"); el != nil {
			m := jitmeet.ParseMute(el)
			if m.Mute {
				c.SetMuted(strings.TrimPrefix(ns, jitmeet.NS+"/"), true)
			}
		}
	}
}

// Kick removes an occupant.
func (c *Client) Kick(ctx context.Context, nick string) error {
	var e xmpp.Enc
	e.Start("query", nsMUCAdmin).Start("item", "").Attr("nick", nick).Attr("role", "none").
		Leaf("reason", "", "You have been kicked.").End().End()
	_, err := c.IQ(ctx, xmpp.TypeSet, c.roomJID(), e.String())
	return err
}

// Leave ends the media, leaves the room and waits for the echo, for which LJM
// waits up to 5 s.
func (c *Client) Leave(ctx context.Context) error { return c.leave(ctx, "") }

func (c *Client) leave(ctx context.Context, status string) error {
	c.closeSession()
	var e xmpp.Enc
	if status != "" {
		e.Leaf("status", "", status)
	}
	if err := c.Send(xmpp.Presence, xmpp.TypeUnavailable, "", c.occupantJID(), e.String()); err != nil {
		return err
	}
	return c.Until(ctx, "the echo of its leave", c.Gone)
}
