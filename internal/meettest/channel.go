package meettest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/coder/websocket"
	"github.com/pion/datachannel"
	"github.com/pion/dtls/v3"
	"github.com/pion/sctp"

	"confab/internal/dtlssrtp"
)

// ChannelMessage is a JSON object of the bridge.
type ChannelMessage struct {
	Class string
	Raw   json.RawMessage
}

// Constraint bounds a source.
type Constraint struct {
	MaxHeight int `json:"maxHeight"`
}

// Constraints are the ReceiverVideoConstraints of a client; nil fields are left out.
type Constraints struct {
	Class       string                `json:"colibriClass"` // filled in
	LastN       *int                  `json:"lastN,omitempty"`
	Assumed     *int                  `json:"assumedBandwidthBps,omitempty"`
	Selected    []string              `json:"selectedSources,omitempty"`
	OnStage     []string              `json:"onStageSources,omitempty"`
	Default     *Constraint           `json:"defaultConstraints,omitempty"`
	Constraints map[string]Constraint `json:"constraints,omitempty"`
}

// bridgeChannel is the client's end: a data channel or a WebSocket.
type bridgeChannel struct {
	c *Client

	mu       sync.Mutex
	send     func([]byte) error // nil until open
	close    func()
	closed   bool
	speaker  string
	forwards []string
}

// secured continues after the DTLS handshake: SCTP, if that is the channel.
func (c *Client) secured(t *transport, conn *dtls.Conn) {
	c.mu.Lock()
	sess := c.session
	c.mu.Unlock()
	if sess == nil || sess.transport != t {
		return
	}
	t.run(func() {
		defer func() { _ = conn.Close() }()
		if sess.formats.Data && !c.opt.WebSocket {
			sess.channel.ended(sess.channel.dialSCTP(conn))
			return
		}
		buf := make([]byte, 2048)
		for { // nothing is expected but the goodbye
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	})
}

// DialChannel opens the bridge's data channel as LJM does: label, protocol, id 0, ordered
// (bridge.md §6.1). Closing the association closes the channel.
func DialChannel(conn *dtls.Conn) (*sctp.Association, *datachannel.DataChannel, error) {
	assoc, err := sctp.ClientWithOptions(sctp.WithNetConn(conn), sctp.WithLoggerFactory(dtlssrtp.Quiet()), sctp.WithRTOMax(3000), sctp.WithEnableZeroChecksum(true))
	if err != nil {
		return nil, nil, fmt.Errorf("sctp: %w", err)
	}
	dc, err := datachannel.Dial(assoc, 0, &datachannel.Config{
		ChannelType: datachannel.ChannelTypeReliable, Label: "JVB data channel", Protocol: "http://jitsi.org/protocols/colibri",
		LoggerFactory: dtlssrtp.Quiet(),
	})
	if err != nil {
		_ = assoc.Close()
		return nil, nil, fmt.Errorf("data channel: %w", err)
	}
	return assoc, dc, nil
}

func (b *bridgeChannel) dialSCTP(conn *dtls.Conn) error {
	assoc, dc, err := DialChannel(conn)
	if err != nil {
		return err
	}
	opened := b.open(func(m []byte) error {
		_, err := dc.WriteDataChannel(m, true)
		return err
	}, func() { _ = assoc.Close() })
	if !opened {
		_ = assoc.Close()
		return nil
	}
	buf := make([]byte, 1<<16)
	for {
		n, text, err := dc.ReadDataChannel(buf)
		if errors.Is(err, io.EOF) {
			return errors.New("closed by the bridge")
		}
		if err != nil {
			return err
		}
		if text {
			b.received(append([]byte(nil), buf[:n]...))
		}
	}
}

// dialWebSocket opens the colibri WebSocket; LJM dials as soon as it has the
// offer and waits for no hello.
func (b *bridgeChannel) dialWebSocket(ctx context.Context, url string) error {
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: b.c.httpClient()})
	if err != nil {
		return err
	}
	ws.SetReadLimit(1 << 20)
	opened := b.open(func(m []byte) error { return ws.Write(ctx, websocket.MessageText, m) }, func() { _ = ws.CloseNow() })
	if !opened {
		return ws.CloseNow()
	}
	for {
		typ, m, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if typ == websocket.MessageText {
			b.received(m)
		}
	}
}

// open makes the channel usable and sends what LJM sends first.
func (b *bridgeChannel) open(send func([]byte) error, end func()) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.send, b.close = send, end
	b.mu.Unlock()
	for name, typ := range b.c.local.activeVideo() {
		b.sendJSON(map[string]string{"colibriClass": "SourceVideoTypeMessage", "sourceName": name, "videoType": typ})
	}
	minus := -1
	b.sendJSON(Constraints{Class: "ReceiverVideoConstraints", LastN: &minus, Assumed: &minus})
	b.c.changes.changed()
	return true
}

// ended notes the end of the channel. LJM lives on without one, and so does the
// client, unless there never was one.
func (b *bridgeChannel) ended(err error) {
	b.mu.Lock()
	opened, closed := b.send != nil || b.close != nil, b.closed
	b.send = nil
	b.mu.Unlock()
	if err != nil && !opened && !closed {
		b.c.end(fmt.Errorf("bridge channel: %w", err))
	}
	b.c.changes.changed()
}

// RedialChannel loses the WebSocket of the bridge channel and opens another one.
func (c *Client) RedialChannel(ctx context.Context) error {
	s, b := c.currentSession(), c.channel()
	if b == nil || !b.isOpen() {
		return errNoChannel
	}
	b.mu.Lock()
	end := b.close
	b.mu.Unlock()
	end()
	if err := c.Until(ctx, "the end of its bridge channel", func() bool { return !b.isOpen() }); err != nil {
		return err
	}
	url := s.offer.FirstTransport().WebSockets[0]
	s.transport.run(func() { b.ended(b.dialWebSocket(s.transport.ctx, url)) })
	return c.Until(ctx, "its new bridge channel", b.isOpen)
}

func (b *bridgeChannel) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.send != nil
}

func (b *bridgeChannel) shut() {
	b.mu.Lock()
	end := b.close
	b.closed, b.close, b.send = true, nil, nil
	b.mu.Unlock()
	if end != nil {
		end()
	}
}

var errNoChannel = errors.New("the bridge channel is not open")

func (b *bridgeChannel) sendRaw(m []byte) error {
	b.mu.Lock()
	send := b.send
	b.mu.Unlock()
	if send == nil {
		return errNoChannel
	}
	b.c.opt.Log.Debug("sent", "channel", string(m))
	return send(m)
}

func (b *bridgeChannel) sendJSON(v any) {
	m, _ := json.Marshal(v)
	_ = b.sendRaw(m)
}

// received keeps the message and acts on it as LJM does. Types are checked as
// strictly as there.
func (b *bridgeChannel) received(m []byte) {
	b.c.opt.Log.Debug("received", "channel", string(m))
	var msg struct {
		Class     string          `json:"colibriClass"`
		Speaker   string          `json:"dominantSpeakerEndpoint"`
		Forwarded []string        `json:"forwardedSources"`
		Source    string          `json:"sourceName"`
		MaxHeight json.RawMessage `json:"maxHeight"`
		Mapped    []mappedSource  `json:"mappedSources"`
	}
	if err := json.Unmarshal(m, &msg); err != nil || msg.Class == "" {
		b.c.fault("a JSON object with colibriClass on the bridge channel", string(m))
		return
	}
	switch msg.Class {
	case "DominantSpeakerEndpointChangeEvent":
		b.mu.Lock()
		b.speaker = msg.Speaker
		b.mu.Unlock()
	case "ForwardedSources":
		b.mu.Lock()
		b.forwards = msg.Forwarded
		b.mu.Unlock()
	case "SenderSourceConstraints":
		var height int
		if json.Unmarshal(msg.MaxHeight, &height) != nil || msg.Source == "" {
			b.c.fault("sourceName text and maxHeight a number", string(m))
			return
		}
		b.c.local.constrain(msg.Source, height)
	case "VideoSourcesMap", "AudioSourcesMap":
		b.c.mapped(msg.Mapped, msg.Class)
	}
	b.c.messages.add(ChannelMessage{msg.Class, m})
	b.c.changes.changed()
}

func (c *Client) channel() *bridgeChannel {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil
	}
	return c.session.channel
}

// ChannelOpen reports whether the bridge channel is open.
func (c *Client) ChannelOpen() bool {
	b := c.channel()
	return b != nil && b.isOpen()
}

// SendChannel sends one message as it is.
func (c *Client) SendChannel(m string) error {
	b := c.channel()
	if b == nil {
		return errNoChannel
	}
	return b.sendRaw([]byte(m))
}

// Constrain tells the bridge what to send.
func (c *Client) Constrain(k Constraints) error {
	k.Class = "ReceiverVideoConstraints"
	m, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("constraints: %w", err)
	}
	return c.SendChannel(string(m))
}

// Want is Constrain to at most that height of every source.
func (c *Client) Want(height int) error {
	n := -1
	return c.Constrain(Constraints{LastN: &n, Default: &Constraint{height}})
}

// Speaker is the endpoint announced as the dominant speaker, or "".
func (c *Client) Speaker() string {
	b := c.channel()
	if b == nil {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.speaker
}

// Forwarded are the sources that the bridge says it sends.
func (c *Client) Forwarded() []string {
	b := c.channel()
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.forwards...)
}
