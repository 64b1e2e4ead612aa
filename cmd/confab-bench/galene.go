package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"confab/internal/swarm"
)

// galenePeer is a Galene server, with its own protocol over a WebSocket: JSON
// objects, and a peer connection for every stream, up and down. Rooms are subgroups
// of a group that makes them and lets everybody present.
type galenePeer struct{ url, group string }

type galeneMessage struct {
	Type      string              `json:"type"`
	Kind      string              `json:"kind,omitempty"`
	Version   []string            `json:"version,omitempty"`
	ID        string              `json:"id,omitempty"`
	Source    string              `json:"source,omitempty"`
	Username  string              `json:"username,omitempty"`
	Password  string              `json:"password,omitempty"`
	Group     string              `json:"group,omitempty"`
	Label     string              `json:"label,omitempty"`
	SDP       string              `json:"sdp,omitempty"`
	Request   map[string][]string `json:"request,omitempty"`
	Candidate *iceCandidate       `json:"candidate,omitempty"`
	Value     any                 `json:"value,omitempty"`
}

// iceCandidate is RTCIceCandidateInit.
type iceCandidate struct {
	Candidate     string `json:"candidate"`
	SDPMid        string `json:"sdpMid"`
	SDPMLineIndex int    `json:"sdpMLineIndex"`
}

// address of a candidate, if it is one of UDP and IPv4.
func (c *iceCandidate) address() (a netip.AddrPort) {
	f := strings.Fields(strings.TrimPrefix(c.Candidate, "candidate:"))
	if len(f) < 8 || !strings.EqualFold(f[2], "udp") || f[7] != "host" {
		return a
	}
	if a, _ = netip.ParseAddrPort(f[4] + ":" + f[5]); !a.Addr().Is4() {
		return netip.AddrPort{}
	}
	return a
}

// trickled is a leg whose remote address may come after its description.
type trickled struct {
	leg     *swarm.Leg
	remote  swarm.Remote
	formats swarm.Formats
	known   bool // the description
	started bool
}

// candidate and describe start the leg when both have come.
func (t *trickled) candidate(c *iceCandidate) {
	if a := c.address(); a.IsValid() && !t.started {
		t.remote.Address = a
		t.start()
	}
}

func (t *trickled) describe(text string, offered bool) (*sdp, error) {
	d, err := parseSDP(text)
	if err != nil {
		return nil, err
	}
	r, err := d.remote(offered)
	if err != nil && r.Fingerprint == "" {
		return nil, err
	}
	if t.started {
		t.leg.Negotiate(d.formats())
		return d, nil
	}
	if !r.Address.IsValid() {
		r.Address = t.remote.Address
	}
	t.remote, t.formats, t.known = r, d.formats(), true
	t.start()
	return d, nil
}

func (t *trickled) start() {
	if t.known && t.remote.Address.IsValid() && !t.started {
		t.started = true
		t.leg.Start(t.remote, t.formats)
	}
}

// galeneMember is a member's connection.
type galeneMember struct {
	m    *member
	s    *swarm.Swarm
	ws   *websocket.Conn
	id   string
	done chan struct{}

	mu     sync.Mutex
	joined chan error // of one
	legs   map[string]*trickled
	err    error
}

func (p galenePeer) enter(ctx context.Context, s *swarm.Swarm, room string, members []*member) (leave func(), err error) {
	return enterAll(ctx, members, func(ctx context.Context, m *member) (connection, error) { return p.join(ctx, s, room, m) })
}

// end closes the connection and waits for its reader.
func (g *galeneMember) end() {
	_ = g.ws.CloseNow()
	<-g.done
}

func (p galenePeer) join(ctx context.Context, s *swarm.Swarm, room string, m *member) (*galeneMember, error) {
	ws, _, err := websocket.Dial(ctx, p.url, nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(1 << 20)
	g := &galeneMember{m: m, s: s, ws: ws, id: randomID(), done: make(chan struct{}), joined: make(chan error, 1), legs: map[string]*trickled{}}
	go g.read()
	fail := func(err error) (*galeneMember, error) {
		_ = ws.CloseNow()
		<-g.done
		return nil, err
	}
	g.send(galeneMessage{Type: "handshake", Version: []string{"2"}, ID: g.id})
	g.send(galeneMessage{Type: "join", Kind: "join", Group: p.group + "/" + room, Username: "u" + g.id})
	if m.watch {
		g.send(galeneMessage{Type: "request", Request: map[string][]string{"": {"audio", "video"}}})
	}
	select {
	case err := <-g.joined:
		if err != nil {
			return fail(err)
		}
		return g, nil
	case <-g.done:
		return fail(fmt.Errorf("connection lost: %w", g.err))
	case <-ctx.Done():
		return fail(ctx.Err())
	}
}

// publish offers the member's tracks as one stream.
func (g *galeneMember) publish(ctx context.Context) error {
	if len(g.m.tracks) == 0 {
		return nil
	}
	leg, err := g.m.leg(g.s)
	if err != nil {
		return err
	}
	for _, t := range g.m.tracks {
		leg.Send(t)
	}
	id := randomID()
	g.mu.Lock()
	g.legs[id] = &trickled{leg: leg}
	g.mu.Unlock()
	g.send(galeneMessage{Type: "offer", ID: id, Label: "camera", Source: g.id, Username: "u" + g.id, SDP: offer(leg.Local(), id, g.m.tracks)})
	began := time.Now()
	if err := leg.Ready(ctx); err != nil {
		return fmt.Errorf("stream up: %w", err)
	}
	if g.m.entered != nil {
		g.m.entered(time.Since(began).Seconds())
	}
	return nil
}

func (g *galeneMember) send(m galeneMessage) {
	b, _ := json.Marshal(m)
	_ = g.ws.Write(context.Background(), websocket.MessageText, b) // the reader learns of a broken connection
}

func (g *galeneMember) read() {
	defer close(g.done)
	for {
		_, b, err := g.ws.Read(context.Background())
		if err != nil {
			g.err = err
			return
		}
		var m galeneMessage
		if json.Unmarshal(b, &m) != nil && m.Type == "" {
			continue // messages about other things have fields of other types
		}
		if err := g.message(&m); err != nil {
			g.err = err
			_ = g.ws.CloseNow()
			return
		}
	}
}

func (g *galeneMember) message(m *galeneMessage) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch m.Type {
	case "ping":
		g.send(galeneMessage{Type: "pong"})
	case "joined":
		var err error
		if m.Kind == "fail" {
			err = fmt.Errorf("join refused: %v", m.Value)
		}
		select {
		case g.joined <- err:
		default:
		}
	case "answer":
		if t := g.legs[m.ID]; t != nil {
			_, err := t.describe(m.SDP, false)
			return err
		}
	case "ice":
		if t := g.legs[m.ID]; t != nil && m.Candidate != nil {
			t.candidate(m.Candidate)
		}
	case "offer":
		t := g.legs[m.ID]
		if t == nil {
			leg, err := g.m.leg(g.s)
			if err != nil {
				return err
			}
			t = &trickled{leg: leg}
			g.legs[m.ID] = t
		}
		d, err := t.describe(m.SDP, true)
		if err != nil {
			return err
		}
		g.send(galeneMessage{Type: "answer", ID: m.ID, SDP: d.answer(t.leg.Local())})
	}
	return nil
}
