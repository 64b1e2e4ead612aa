package meettest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"confab/xmpp"
)

// Redirect is the focus's answer to somebody who is to be a visitor (LJM
// CONNECTION_REDIRECTED).
type Redirect struct{ Node, Focus string }

func (r *Redirect) Error() string { return "sent to the visitors of " + r.Node }

// ErrNotLive is its answer to a visitor of a meeting that is not live yet.
var ErrNotLive = errors.New("the meeting is not live")

// Visit is what changes for a client that was redirected: the suffix stands in
// jitsi-meet's getVisitorOptions.
func (r *Redirect) Visit(o *Options) {
	host := r.Node + ".meet.jitsi"
	muc := o.MUC
	if muc == "" {
		muc = "conference." + o.Domain
	}
	o.Server, o.MUC = o.Domain, strings.Replace(muc, o.Domain, host, 1)
	o.Domain, o.Focus, o.Media = host, r.Focus, nil
}

// Promoted is what a visitor comes back with: its name in the main room.
type Promoted struct{ Username, Focus string }

// Return is what changes for it.
func (p *Promoted) Return(o *Options) { o.CustomUsername, o.Focus = p.Username, p.Focus }

const nsVisitors = "jitsi:visitors"

// RaiseHand raises the hand, or lowers it.
func (c *Client) RaiseHand(up bool) {
	c.hand.Store(0)
	if up {
		c.hand.Store(time.Now().UnixMilli())
	}
	c.updatePresence()
}

// ExpectPromotion waits for the moderators' answer; nil means no.
func (c *Client) ExpectPromotion(ctx context.Context) (*Promoted, error) {
	s, err := c.Expect(ctx, "an answer to the raised hand", func(s *xmpp.Stanza) bool {
		return s.Kind == xmpp.IQ && s.Type == xmpp.TypeSet && s.From.String() == c.roomJID() && s.Has(nsVisitors, "visitors")
	})
	if err != nil {
		return nil, err
	}
	v := s.Child(nsVisitors, "visitors")
	r := v.Child(nsVisitors, "promotion-response")
	if r.Get("allow") != "true" {
		return nil, nil
	}
	if r.Get("username") == "" || v.Get("focusjid") == "" {
		return nil, &Fault{"username and focusjid in a promotion", s.String()}
	}
	return &Promoted{r.Get("username"), v.Get("focusjid")}, nil
}

// VisitorMessage is what the visitors component tells moderators and the demoted.
type VisitorMessage struct {
	Type, Action, Room, Nick, From, ID, Actor string
	On                                        bool
}

// ExpectVisitors waits for a message of the component.
func (c *Client) ExpectVisitors(ctx context.Context, action string) (*VisitorMessage, error) {
	m := &VisitorMessage{}
	_, err := c.Expect(ctx, "a message of the visitors component: "+action, func(s *xmpp.Stanza) bool {
		el := s.Child(xmpp.NSClient, "json-message")
		if el == nil {
			el = s.Child("http://jitsi.org/jitmeet", "json-message")
		}
		*m = VisitorMessage{}
		return el != nil && s.From.String() == c.Component("visitors") && json.Unmarshal([]byte(el.Text), m) == nil && m.Action == action
	})
	return m, err
}

// Admit answers a visitor's request.
func (c *Client) Admit(from string, approved bool) error {
	return c.endpoint(map[string]any{"type": "visitors", "action": "promotion-response", "approved": approved, "id": from})
}

// Demote makes somebody a visitor.
func (c *Client) Demote(nick string) error {
	return c.endpoint(map[string]any{"type": "visitors", "action": "demote-request", "id": nick, "actor": c.nick})
}

// endpoint sends an endpoint message to all by way of the room.
func (c *Client) endpoint(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("endpoint message: %w", err)
	}
	var e xmpp.Enc
	e.Leaf("json-message", "http://jitsi.org/jitmeet", string(b))
	return c.Send(xmpp.Message, xmpp.TypeGroupchat, "", c.roomJID(), e.String())
}
