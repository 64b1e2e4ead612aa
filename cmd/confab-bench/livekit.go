package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/datachannel"
	"github.com/pion/dtls/v3"
	"github.com/pion/sctp"

	"confab/internal/dtlssrtp"
	"confab/internal/swarm"
)

// livekitPeer is a LiveKit server, with its own protocol over a WebSocket: protobuf
// messages, a peer connection up and one down for each participant.
type livekitPeer struct{ url, key, secret string }

func randomID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// token is an access token: a JWT with the grant to join a room (HS256).
func (p livekitPeer) token(room, identity string) string {
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": p.key, "sub": identity, "nbf": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"video": map[string]any{"room": room, "roomJoin": true, "canPublish": true, "canSubscribe": true},
	})
	mac := hmac.New(sha256.New, []byte(p.secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Fields of SignalRequest and SignalResponse (livekit_rtc.proto).
const (
	lkOffer, lkAnswer, lkTrickle, lkAddTrack = 1, 2, 3, 4 // of requests
	lkPing                                   = 14
	lkJoin, lkAnswered, lkOffered, lkCandid  = 1, 2, 3, 4 // of responses
	lkPublished, lkLeave                     = 6, 8
)

// livekitMember is a member's connection.
type livekitMember struct {
	m    *member
	s    *swarm.Swarm
	ws   *websocket.Conn
	done chan struct{}

	mu        sync.Mutex
	in        chan struct{} // closed when the join was answered
	published chan struct{} // one for each track
	up, down  *trickled
	err       error
}

func (p livekitPeer) enter(ctx context.Context, s *swarm.Swarm, room string, members []*member) (leave func(), err error) {
	return enterAll(ctx, members, func(ctx context.Context, m *member) (connection, error) { return p.join(ctx, s, room, m) })
}

// end closes the connection and waits for its reader.
func (l *livekitMember) end() {
	_ = l.ws.CloseNow()
	<-l.done
}

func (p livekitPeer) join(ctx context.Context, s *swarm.Swarm, room string, m *member) (*livekitMember, error) {
	subscribe := "0"
	if m.watch {
		subscribe = "1"
	}
	q := url.Values{"access_token": {p.token(room, randomID())}, "auto_subscribe": {subscribe}, "protocol": {"9"}, "sdk": {"go"}, "version": {"2.0.0"}}
	ws, _, err := websocket.Dial(ctx, p.url+"/rtc?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(4 << 20)
	l := &livekitMember{m: m, s: s, ws: ws, done: make(chan struct{}), in: make(chan struct{}), published: make(chan struct{}, len(m.tracks))}
	go l.read()
	go l.ping()
	select {
	case <-l.in:
		return l, nil
	case <-l.done:
		err = fmt.Errorf("connection lost: %w", l.err)
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = ws.CloseNow()
	<-l.done
	return nil, err
}

// publish announces the tracks, then offers them.
func (l *livekitMember) publish(ctx context.Context) error {
	if len(l.m.tracks) == 0 {
		return nil
	}
	leg, err := l.m.leg(l.s)
	if err != nil {
		return err
	}
	stream := randomID()
	text := offer(leg.Local(), stream, l.m.tracks)
	for _, t := range l.m.tracks {
		leg.Send(t)
		add := pbString(nil, 1, stream+"-"+t.MID) // the msid's track id, as offer writes it
		add = pbString(add, 2, t.MID)
		if t.Kind == swarm.Audio {
			add = pbUint(pbUint(add, 3, 0), 8, 2) // audio, microphone
			add = pbUint(add, 13, 1)              // without RED
		} else {
			e := t.Encodings[len(t.Encodings)-1]
			add = pbUint(pbUint(add, 3, 1), 8, 1) // video, camera
			add = pbUint(pbUint(add, 4, uint64(e.Width)), 5, uint64(e.Height))
			layer := pbUint(pbUint(pbUint(pbUint(nil, 1, 2), 2, uint64(e.Width)), 3, uint64(e.Height)), 4, uint64(e.Bitrate))
			layer = pbUint(layer, 5, uint64(t.SSRCs[0]))
			add = pbBytes(add, 9, layer)
		}
		l.send(pbBytes(nil, lkAddTrack, add))
	}
	for range l.m.tracks {
		select {
		case <-l.published:
		case <-ctx.Done():
			return fmt.Errorf("announcing a track: %w", ctx.Err())
		}
	}
	l.mu.Lock()
	l.up = &trickled{leg: leg}
	l.mu.Unlock()
	began := time.Now()
	l.send(pbBytes(nil, lkOffer, description("offer", text, 0)))
	if err := leg.Ready(ctx); err != nil {
		return fmt.Errorf("connection up: %w", err)
	}
	if l.m.entered != nil {
		l.m.entered(time.Since(began).Seconds())
	}
	return nil
}

func description(typ, text string, id uint64) []byte {
	b := pbString(pbString(nil, 1, typ), 2, text)
	if id != 0 {
		b = pbUint(b, 3, id)
	}
	return b
}

func (l *livekitMember) send(b []byte) {
	_ = l.ws.Write(context.Background(), websocket.MessageBinary, b) // the reader learns of a broken connection
}

// ping keeps the connection, as the clients do.
func (l *livekitMember) ping() {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.send(pbUint(nil, lkPing, uint64(time.Now().UnixMilli())))
		case <-l.done:
			return
		}
	}
}

func (l *livekitMember) read() {
	defer close(l.done)
	for {
		_, b, err := l.ws.Read(context.Background())
		if err == nil {
			err = l.response(b)
		}
		if err != nil {
			l.err = err
			_ = l.ws.CloseNow()
			return
		}
	}
}

func (l *livekitMember) response(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(b) > 0 {
		field, _, body, rest, ok := pbNext(b)
		if !ok {
			return fmt.Errorf("no protobuf: %.20x", b)
		}
		b = rest
		switch field {
		case lkJoin:
			close(l.in)
		case lkPublished:
			l.published <- struct{}{}
		case lkLeave:
			return fmt.Errorf("the server ends it: %x", body)
		case lkAnswered:
			if _, text, _ := readDescription(body); l.up != nil {
				if _, err := l.up.describe(text, false); err != nil {
					return err
				}
			}
		case lkOffered:
			if err := l.offered(body); err != nil {
				return err
			}
		case lkCandid:
			l.candidate(body)
		}
	}
	return nil
}

func readDescription(b []byte) (typ, text string, id uint64) {
	for len(b) > 0 {
		field, n, body, rest, ok := pbNext(b)
		if !ok {
			break
		}
		switch field {
		case 1:
			typ = string(body)
		case 2:
			text = string(body)
		case 3:
			id = n
		}
		b = rest
	}
	return typ, text, id
}

// offered answers the connection down, at first and whenever tracks come or go.
func (l *livekitMember) offered(b []byte) error {
	_, text, id := readDescription(b)
	if l.down == nil {
		leg, err := l.m.leg(l.s)
		if err != nil {
			return err
		}
		leg.OnSecure = channels
		l.down = &trickled{leg: leg}
	}
	d, err := l.down.describe(text, true)
	if err != nil {
		return err
	}
	l.send(pbBytes(nil, lkAnswer, description("answer", d.answer(l.down.leg.Local()), id)))
	return nil
}

func (l *livekitMember) candidate(b []byte) {
	var c iceCandidate
	target := uint64(0)
	for len(b) > 0 {
		field, n, body, rest, ok := pbNext(b)
		if !ok {
			return
		}
		switch field {
		case 1:
			if json.Unmarshal(body, &c) != nil {
				return
			}
		case 2:
			target = n
		}
		b = rest
	}
	t := l.up
	if target == 1 {
		if l.down == nil { // candidates may come before the description
			leg, err := l.m.leg(l.s)
			if err != nil {
				return
			}
			leg.OnSecure = channels
			l.down = &trickled{leg: leg}
		}
		t = l.down
	}
	if t != nil {
		t.candidate(&c)
	}
}

// channels opens what data channels the server wants, and reads them.
func channels(ctx context.Context, conn *dtls.Conn) {
	assoc, err := sctp.ClientWithOptions(sctp.WithNetConn(conn), sctp.WithLoggerFactory(dtlssrtp.Quiet()))
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = assoc.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		dc, err := datachannel.Accept(assoc, &datachannel.Config{LoggerFactory: dtlssrtp.Quiet()})
		if err != nil {
			return
		}
		wg.Go(func() {
			buf := make([]byte, 1<<16)
			for {
				if _, _, err := dc.ReadDataChannel(buf); err != nil {
					return
				}
			}
		})
	}
}

// The few pieces of protobuf that are needed (protobuf.dev/programming-guides/encoding).

func pbUint(b []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3), v)
}

func pbBytes(b []byte, field int, v []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3|2), uint64(len(v)))
	return append(b, v...)
}

func pbString(b []byte, field int, v string) []byte { return pbBytes(b, field, []byte(v)) }

// pbNext takes the first field off a message.
func pbNext(b []byte) (field int, n uint64, body, rest []byte, ok bool) {
	key, k := binary.Uvarint(b)
	if k <= 0 {
		return 0, 0, nil, nil, false
	}
	b = b[k:]
	switch key & 7 {
	case 0:
		n, k = binary.Uvarint(b)
		if k <= 0 {
			return 0, 0, nil, nil, false
		}
		return int(key >> 3), n, nil, b[k:], true
	case 1, 5:
		size := 8
		if key&7 == 5 {
			size = 4
		}
		if len(b) < size {
			return 0, 0, nil, nil, false
		}
		return int(key >> 3), 0, b[:size], b[size:], true
	case 2:
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) {
			return 0, 0, nil, nil, false
		}
		return int(key >> 3), 0, b[k : k+int(size)], b[k+int(size):], true
	}
	return 0, 0, nil, nil, false
}

// livekitURL takes http for ws.
func livekitURL(u string) string { return strings.TrimSuffix(strings.Replace(u, "http", "ws", 1), "/") }
