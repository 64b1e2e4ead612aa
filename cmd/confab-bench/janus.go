package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"confab/internal/swarm"
)

// janus is a session of Janus Gateway's WebSocket API, for comparison: the same
// number of packets through its videoroom plug-in, as through our bridge.
type janus struct {
	ws      *websocket.Conn
	session uint64

	mu      sync.Mutex
	next    int
	waiting map[string]chan janusMessage
	err     error
	done    chan struct{}
}

type janusMessage struct {
	Janus       string          `json:"janus"`
	Transaction string          `json:"transaction,omitempty"`
	SessionID   uint64          `json:"session_id,omitempty"`
	HandleID    uint64          `json:"handle_id,omitempty"`
	Sender      uint64          `json:"sender,omitempty"`
	Plugin      string          `json:"plugin,omitempty"`
	Body        any             `json:"body,omitempty"`
	JSEP        *janusJSEP      `json:"jsep,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	PluginData  *struct {
		Data json.RawMessage `json:"data"`
	} `json:"plugindata,omitempty"`
	Error *struct {
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	} `json:"error,omitempty"`
}

type janusJSEP struct {
	Type string `json:"type"`
	SDP  string `json:"sdp"`
}

func dialJanus(ctx context.Context, url string) (*janus, error) {
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"janus-protocol"}})
	if err != nil {
		return nil, fmt.Errorf("janus: %w", err)
	}
	ws.SetReadLimit(1 << 20)
	j := &janus{ws: ws, waiting: map[string]chan janusMessage{}, done: make(chan struct{})}
	go j.read()
	m, err := j.ask(ctx, janusMessage{Janus: "create"})
	if err != nil {
		j.close()
		return nil, err
	}
	var created struct{ ID uint64 }
	if err := json.Unmarshal(m.Data, &created); err != nil {
		j.close()
		return nil, fmt.Errorf("janus: %w", err)
	}
	j.session = created.ID
	return j, nil
}

func (j *janus) close() {
	_ = j.ws.CloseNow()
	<-j.done
}

func (j *janus) read() {
	defer close(j.done)
	for {
		_, b, err := j.ws.Read(context.Background())
		var m janusMessage
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		j.mu.Lock()
		if err != nil {
			j.err = err
			for _, ch := range j.waiting {
				close(ch)
			}
			j.waiting = nil
			j.mu.Unlock()
			return
		}
		ch := j.waiting[m.Transaction]
		// An ack announces the answer, which comes as an event; only that of a
		// keepalive is all.
		if m.Janus == "ack" && !strings.HasPrefix(m.Transaction, "k") {
			ch = nil
		}
		if ch != nil {
			delete(j.waiting, m.Transaction)
		}
		j.mu.Unlock()
		if ch != nil {
			ch <- m
		}
	}
}

// ask sends a request and waits for its answer.
func (j *janus) ask(ctx context.Context, m janusMessage) (janusMessage, error) {
	ch := make(chan janusMessage, 1)
	j.mu.Lock()
	if j.waiting == nil {
		j.mu.Unlock()
		return janusMessage{}, fmt.Errorf("janus: %w", j.err)
	}
	j.next++
	m.Transaction = fmt.Sprint("t", j.next)
	if m.Janus == "keepalive" {
		m.Transaction = fmt.Sprint("k", j.next)
	}
	m.SessionID = j.session
	j.waiting[m.Transaction] = ch
	j.mu.Unlock()
	b, err := json.Marshal(m)
	if err != nil {
		return janusMessage{}, err
	}
	if err := j.ws.Write(ctx, websocket.MessageText, b); err != nil {
		return janusMessage{}, fmt.Errorf("janus: %w", err)
	}
	select {
	case got, ok := <-ch:
		switch {
		case !ok:
			return got, errors.New("janus: connection lost")
		case got.Error != nil:
			return got, fmt.Errorf("janus: %s", got.Error.Reason)
		case got.PluginData != nil:
			var data struct {
				Error string `json:"error"`
			}
			if json.Unmarshal(got.PluginData.Data, &data) == nil && data.Error != "" {
				return got, fmt.Errorf("janus: %s", data.Error)
			}
		}
		return got, nil
	case <-ctx.Done():
		return janusMessage{}, ctx.Err()
	}
}

func (j *janus) attach(ctx context.Context) (uint64, error) {
	m, err := j.ask(ctx, janusMessage{Janus: "attach", Plugin: "janus.plugin.videoroom"})
	if err != nil {
		return 0, err
	}
	var attached struct{ ID uint64 }
	err = json.Unmarshal(m.Data, &attached)
	return attached.ID, err
}

func (j *janus) message(ctx context.Context, handle uint64, body any, jsep *janusJSEP) (janusMessage, error) {
	return j.ask(ctx, janusMessage{Janus: "message", HandleID: handle, Body: body, JSEP: jsep})
}

// janusPeer is a Janus Gateway: its videoroom plug-in, one handle that publishes
// and one that subscribes to everybody else for each member.
type janusPeer struct{ url string }

// janusMember is a member that publishes, or only joins.
type janusMember struct {
	m      *member
	handle uint64
	id     uint64
}

func (p janusPeer) enter(ctx context.Context, s *swarm.Swarm, room string, members []*member) (leave func(), err error) {
	j, err := dialJanus(ctx, p.url)
	if err != nil {
		return nil, err
	}
	leave = func() {
		j.close()
		closeAll(members)
	}
	defer func() {
		if err != nil {
			leave()
		}
	}()
	number := crc32.ChecksumIEEE([]byte(room))
	handle, err := j.attach(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = j.message(ctx, handle, map[string]any{
		"request": "create", "room": number, "publishers": max(len(members), 2), "bitrate": 0, "videocodec": "vp8", "audiocodec": "opus",
		"audiolevel_ext": true, "transport_wide_cc_ext": true,
	}, nil); err != nil {
		return nil, err
	}
	go j.keepAlive()
	var mu sync.Mutex
	all := map[*member]*janusMember{}
	err = inParallel(ctx, joining, members, func(ctx context.Context, m *member) error {
		jm := &janusMember{m: m}
		if len(m.tracks) > 0 {
			if err := j.publish(ctx, s, jm, number); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		all[m] = jm
		return nil
	})
	if err == nil {
		err = inParallel(ctx, joining, members, func(ctx context.Context, m *member) error {
			began := time.Now()
			if err := j.subscribe(ctx, s, m, number, all); err != nil {
				return err
			}
			if m.entered != nil {
				m.entered(time.Since(began).Seconds())
			}
			return nil
		})
	}
	return leave, err
}

func (j *janus) publish(ctx context.Context, s *swarm.Swarm, jm *janusMember, room uint32) (err error) {
	if jm.handle, err = j.attach(ctx); err != nil {
		return err
	}
	joined, err := j.message(ctx, jm.handle, map[string]any{"request": "join", "ptype": "publisher", "room": room}, nil)
	if err != nil {
		return err
	}
	var who struct{ ID uint64 }
	if err := json.Unmarshal(joined.PluginData.Data, &who); err != nil {
		return err
	}
	jm.id = who.ID
	leg, err := jm.m.leg(s)
	if err != nil {
		return err
	}
	for _, t := range jm.m.tracks {
		leg.Send(t)
	}
	local := &janusJSEP{Type: "offer", SDP: offer(leg.Local(), fmt.Sprint("s", jm.id), jm.m.tracks)}
	m, err := j.message(ctx, jm.handle, map[string]any{"request": "configure", "audio": true, "video": true}, local)
	if err != nil {
		return err
	}
	if m.JSEP == nil {
		return errors.New("janus: no answer to the publisher's offer")
	}
	return begin(ctx, leg, m.JSEP.SDP, false)
}

// begin starts a leg with a session description of the server and waits for it.
func begin(ctx context.Context, leg *swarm.Leg, text string, offered bool) error {
	d, err := parseSDP(text)
	if err != nil {
		return err
	}
	r, err := d.remote(offered)
	if err != nil {
		return err
	}
	leg.Start(r, d.formats())
	if err := leg.Ready(ctx); err != nil {
		return fmt.Errorf("connection of a publisher: %w", err)
	}
	return nil
}

func (j *janus) subscribe(ctx context.Context, s *swarm.Swarm, m *member, room uint32, all map[*member]*janusMember) error {
	var streams []map[string]any
	for other, jm := range all {
		if other != m && jm.id != 0 {
			streams = append(streams, map[string]any{"feed": jm.id})
		}
	}
	if !m.watch || len(streams) == 0 {
		return nil
	}
	handle, err := j.attach(ctx)
	if err != nil {
		return err
	}
	join := map[string]any{"request": "join", "ptype": "subscriber", "room": room, "streams": streams}
	got, err := j.message(ctx, handle, join, nil)
	for err != nil && strings.Contains(err.Error(), "No such feed") && ctx.Err() == nil {
		got, err = j.message(ctx, handle, join, nil) // Janus learns of the publisher's media a little later
	}
	if err != nil {
		return err
	}
	if got.JSEP == nil {
		return errors.New("janus: no offer to the subscriber")
	}
	d, err := parseSDP(got.JSEP.SDP)
	if err != nil {
		return err
	}
	leg, err := m.leg(s)
	if err != nil {
		return err
	}
	r, err := d.remote(true)
	if err != nil {
		return err
	}
	f := d.formats()
	leg.Start(r, f)
	if _, err = j.message(ctx, handle, map[string]any{"request": "start"}, &janusJSEP{Type: "answer", SDP: d.answer(leg.Local())}); err != nil {
		return err
	}
	if err := leg.Ready(ctx); err != nil {
		return fmt.Errorf("connection of a subscriber: %w", err)
	}
	return nil
}

// keepAlive keeps the session, which else ends after a minute.
func (j *janus) keepAlive() {
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := j.ask(context.Background(), janusMessage{Janus: "keepalive"}); err != nil {
				return
			}
		case <-j.done:
			return
		}
	}
}
