package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// janus is a session of Janus Gateway's WebSocket API, for comparison: the same
// number of packets through its videoroom plug-in, as through our bridge.
type janus struct {
	ws      *websocket.Conn
	session uint64

	mu      sync.Mutex
	next    int
	waiting map[string]chan janusMessage
	events  map[uint64]chan janusMessage // by handle
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
	j := &janus{ws: ws, waiting: map[string]chan janusMessage{}, events: map[uint64]chan janusMessage{}, done: make(chan struct{})}
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
		// An ack announces the answer, which comes as an event.
		if ch != nil && m.Janus != "ack" {
			delete(j.waiting, m.Transaction)
		}
		j.mu.Unlock()
		if ch != nil && m.Janus != "ack" {
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

// janusFlow is one publisher of video and its subscribers.
type janusFlow struct {
	j        *janus
	pcs      []*webrtc.PeerConnection
	track    *webrtc.TrackLocalStaticRTP
	sent     atomic.Uint64
	received atomic.Uint64
	flowing  atomic.Int64 // subscribers that get media
	wg       sync.WaitGroup
}

// openJanusFlow makes a room with one publisher and n subscribers.
func openJanusFlow(ctx context.Context, url string, room, n int) (_ *janusFlow, err error) {
	f := &janusFlow{}
	if f.j, err = dialJanus(ctx, url); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	handle, err := f.j.attach(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = f.j.message(ctx, handle, map[string]any{"request": "create", "room": room, "publishers": 10, "bitrate": 0, "videocodec": "vp8", "audiocodec": "opus"}, nil); err != nil {
		return nil, err
	}
	joined, err := f.j.message(ctx, handle, map[string]any{"request": "join", "ptype": "publisher", "room": room}, nil)
	if err != nil {
		return nil, err
	}
	var who struct{ ID uint64 }
	if err = json.Unmarshal(joined.PluginData.Data, &who); err != nil {
		return nil, err
	}
	if err = f.publish(ctx, handle); err != nil {
		return nil, err
	}
	for range n {
		if err = f.subscribe(ctx, room, who.ID); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *janusFlow) connection() (*webrtc.PeerConnection, error) {
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err == nil {
		f.pcs = append(f.pcs, pc)
	}
	return pc, err
}

func (f *janusFlow) publish(ctx context.Context, handle uint64) error {
	pc, err := f.connection()
	if err != nil {
		return err
	}
	f.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "v", "bench")
	if err != nil {
		return err
	}
	sender, err := pc.AddTrack(f.track)
	if err != nil {
		return err
	}
	f.wg.Go(func() {
		for {
			if _, _, err := sender.ReadRTCP(); err != nil {
				return
			}
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	local, err := gathered(ctx, pc, offer)
	if err != nil {
		return err
	}
	m, err := f.j.message(ctx, handle, map[string]any{"request": "configure", "audio": false, "video": true}, local)
	if err != nil {
		return err
	}
	if m.JSEP == nil {
		return errors.New("janus: no answer to the publisher's offer")
	}
	up := make(chan struct{})
	var once sync.Once
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(up) })
		}
	})
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.JSEP.SDP}); err != nil {
		return err
	}
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *janusFlow) subscribe(ctx context.Context, room int, feed uint64) error {
	handle, err := f.j.attach(ctx)
	if err != nil {
		return err
	}
	join := map[string]any{"request": "join", "ptype": "subscriber", "room": room, "streams": []map[string]any{{"feed": feed}}}
	m, err := f.j.message(ctx, handle, join, nil)
	for err != nil && strings.Contains(err.Error(), "No such feed") && ctx.Err() == nil {
		m, err = f.j.message(ctx, handle, join, nil) // Janus learns of the publisher's media a little later
	}
	if err != nil {
		return err
	}
	if m.JSEP == nil {
		return errors.New("janus: no offer to the subscriber")
	}
	pc, err := f.connection()
	if err != nil {
		return err
	}
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		f.wg.Add(1)
		defer f.wg.Done()
		f.flowing.Add(1)
		buf := make([]byte, 1600)
		for {
			if _, _, err := t.Read(buf); err != nil {
				return
			}
			f.received.Add(1)
		}
	})
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: m.JSEP.SDP}); err != nil {
		return err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	local, err := gathered(ctx, pc, answer)
	if err != nil {
		return err
	}
	_, err = f.j.message(ctx, handle, map[string]any{"request": "start"}, local)
	return err
}

// gathered sets the local description and waits for its candidates.
func gathered(ctx context.Context, pc *webrtc.PeerConnection, d webrtc.SessionDescription) (*janusJSEP, error) {
	done := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(d); err != nil {
		return nil, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &janusJSEP{Type: d.Type.String(), SDP: pc.LocalDescription().SDP}, nil
}

// send writes VP8 frames of a bit rate until ctx ends.
func (f *janusFlow) send(ctx context.Context, fps, bitrate int) {
	const size = 1100
	perFrame := max(1, bitrate/8/fps/size)
	tick := time.NewTicker(time.Second / time.Duration(fps))
	defer tick.Stop()
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96}, Payload: make([]byte, size)}
	for frame := uint32(0); ; frame++ {
		for i := range perFrame {
			p.Header.Marker = i == perFrame-1
			p.Payload[0] = 0 // VP8 descriptor (RFC 7741 §4.2): start of partition 0 in the first packet
			if i == 0 {
				p.Payload[0] = 0x10
			}
			p.Payload[1] = byte(min(frame%100, 1)) // a key frame in each hundred
			if f.track.WriteRTP(&p) == nil {
				f.sent.Add(1)
			}
			p.Header.SequenceNumber++
		}
		p.Header.Timestamp += uint32(90000 / fps)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (f *janusFlow) close() {
	for _, pc := range f.pcs {
		_ = pc.Close()
	}
	if f.j != nil {
		f.j.close()
	}
	f.wg.Wait()
}
