// Package export sends the audio of a conference to another service, such as one
// that transcribes or translates it, over a WebSocket, and takes what that answers: text,
// or audio in its place (bridge.md §21).
//
// Rules of this package:
//   - Nothing here delays media: what the service is too slow for is dropped.
//   - A connection that fails is made anew until the exporter is stopped.
//   - The service is the operator's, but its messages are bounded like anybody's.
package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"confab/bridge/forward"

	"github.com/coder/websocket"
)

const (
	// queueSize is how many packets wait for the connection: 20 s of one voice.
	queueSize = 1024
	// dialTimeout and writeTimeout are how long the service has to answer a request
	// and to take a message.
	dialTimeout  = 15 * time.Second
	writeTimeout = 10 * time.Second
	// closeTimeout is how long it has to agree that the connection ends.
	closeTimeout = time.Second
	// maxMessage bounds a message of the service; a transcript goes to everybody.
	maxMessage = 64 << 10
	// retryDelay is the pause before the third attempt to connect, which doubles up to
	// maxRetryDelay: the second comes at once. A connection that held for stableTime
	// begins anew (JVB exporter.*).
	retryDelay    = time.Second
	maxRetryDelay = 30 * time.Second
	stableTime    = 30 * time.Second
)

// Config says where the audio goes.
type Config struct {
	URL     string // ws: or wss:
	Headers http.Header
	// PingInterval separates pings, each of which is to be answered within PingTimeout;
	// 0: none are sent.
	PingInterval, PingTimeout time.Duration
	Exports                   []string // names of the sources that are sent; none: all
	Requests                  []string // names of the sources that the service is to make
	Version, Region           string   // of the bridge
}

// Conference is what an exporter asks and tells; its methods must not wait.
type Conference interface {
	// Diarize says whether the voices in an endpoint's audio are to be told apart.
	Diarize(endpoint string) bool
	// Transcript takes a result as the service sent it: a JSON object.
	Transcript(raw []byte)
	// Media takes a packet of Opus of a source that the service makes.
	Media(source string, seq uint16, ts uint32, opus []byte) error
	// Sending takes when such a source begins or ends.
	Sending(source string, on bool, ts uint32)
}

// Counters are of all exporters of a bridge.
type Counters struct {
	Starts, Failures, Refused, Packets, Dropped, Transcripts, Infos, Others, Malformed, Panics, Media, Unused, Changes atomic.Uint64
}

// Stats is a snapshot of Counters.
type Stats struct {
	Starts      uint64
	Failures    uint64 // connections that could not be made or ended by themselves
	Refused     uint64 // those that the service closed with an internal error
	Packets     uint64
	Dropped     uint64 // packets for which the service was too slow
	Transcripts uint64
	Infos       uint64
	Media       uint64 // packets of sources that services make
	Unused      uint64 // of them, those of sources that are not there or not asked of the service, and what was too much
	Changes     uint64 // times that such a source began or ended
	Others      uint64 // messages that mean nothing here
	Malformed   uint64
	Panics      uint64
}

// Stats returns the counters as they are now.
func (n *Counters) Stats() Stats {
	return Stats{
		Starts: n.Starts.Load(), Failures: n.Failures.Load(), Refused: n.Refused.Load(), Packets: n.Packets.Load(), Dropped: n.Dropped.Load(),
		Transcripts: n.Transcripts.Load(), Infos: n.Infos.Load(), Others: n.Others.Load(), Malformed: n.Malformed.Load(),
		Panics: n.Panics.Load(), Media: n.Media.Load(), Unused: n.Unused.Load(), Changes: n.Changes.Load(),
	}
}

// Exporter is one connection to a service, made anew when it fails. It is the
// forward.Listener of a conference, or one of several.
type Exporter struct {
	cfg       Config
	conf      Conference
	n         *Counters
	log       *slog.Logger
	client    *http.Client
	queue     chan forward.Heard
	connected atomic.Bool
	exports   atomic.Pointer[map[string]bool] // nil: all
	requests  atomic.Pointer[map[string]bool]
	renamed   chan struct{} // one slot: exports or requests are others
}

// New makes an exporter that Run starts.
func New(cfg Config, conf Conference, n *Counters, log *slog.Logger) *Exporter {
	e := &Exporter{
		cfg: cfg, conf: conf, n: n, log: log, queue: make(chan forward.Heard, queueSize), renamed: make(chan struct{}, 1),
		// A redirection would take the headers, with their secrets, to another host.
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	e.name(cfg.Exports, cfg.Requests)
	return e
}

func (e *Exporter) name(exports, requests []string) {
	made := set(requests)
	e.requests.Store(&made)
	if len(exports) == 0 {
		e.exports.Store(nil)
		return
	}
	sent := set(exports)
	e.exports.Store(&sent)
}

func set(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

// Rename changes the names of the sources that are sent, and of those that are made.
func (e *Exporter) Rename(exports, requests []string) {
	e.name(exports, requests)
	select {
	case e.renamed <- struct{}{}:
	default:
	}
}

// Heard implements forward.Listener.
func (e *Exporter) Heard(h forward.Heard) {
	if !e.connected.Load() {
		return
	}
	if set := e.exports.Load(); set != nil && !(*set)[h.Source] {
		return
	}
	h.Packet.Retain()
	select {
	case e.queue <- h:
		if !e.connected.Load() {
			e.discard() // it may have been done before
		}
	default:
		h.Packet.Release()
		e.n.Dropped.Add(1)
	}
}

// Run keeps the connection until ctx ends.
func (e *Exporter) Run(ctx context.Context) {
	e.n.Starts.Add(1)
	for attempt := 0; ; attempt++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause(attempt)):
		}
		began := time.Now()
		err := e.guard("connection", func() error { return e.connect(ctx) })
		if ctx.Err() != nil {
			return
		}
		e.n.Failures.Add(1)
		if websocket.CloseStatus(err) == websocket.StatusInternalError {
			e.n.Refused.Add(1)
		}
		e.log.Warn("connection to exporter's service ended", "attempt", attempt+1, "err", err)
		if time.Since(began) > stableTime {
			attempt = 0
		}
	}
}

// guard makes an error of a panic, which ends the connection and nothing else.
func (e *Exporter) guard(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e.n.Panics.Add(1)
			err = fmt.Errorf("%s panics: %v", what, p)
			e.log.Error("exporter panics", "err", err, "stack", string(debug.Stack()))
		}
	}()
	return f()
}

// pause is how long to wait before an attempt; the first two come at once.
func pause(attempt int) time.Duration {
	if attempt < 2 {
		return 0
	}
	return min(retryDelay<<min(attempt-2, 16), maxRetryDelay)
}

// connect makes one connection and keeps it until it fails or ctx ends.
func (e *Exporter) connect(ctx context.Context) error {
	dial, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(dial, e.cfg.URL, &websocket.DialOptions{HTTPClient: e.client, HTTPHeader: e.cfg.Headers})
	if err != nil {
		return err
	}
	defer conn.CloseNow() //nolint:errcheck // it is gone either way
	conn.SetReadLimit(maxMessage)
	e.log.Info("connected to exporter's service")

	ctx, stop := context.WithCancelCause(ctx)
	// Reading goes on a little longer, for the service's own close.
	reading, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(closeTimeout, abandon) })()
	pongs := make(chan int, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		stop(e.guard("reader", func() error { return e.read(reading, conn, pongs) }))
	}()
	err = e.write(ctx, conn, pongs)
	if stopped := context.Cause(ctx); errors.Is(err, context.Canceled) && stopped != nil {
		err = stopped
	}
	// Whoever is told why reads no more; a close that is not answered ends by itself.
	_ = conn.CloseNow()
	stop(err)
	<-read
	return err
}

// read takes the messages of the service until the connection fails.
func (e *Exporter) read(ctx context.Context, conn *websocket.Conn, pongs chan<- int) error {
	for {
		kind, b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := parse(b)
		if kind != websocket.MessageText || err != nil {
			e.n.Malformed.Add(1)
			e.log.Debug("message of exporter's service not understood", "err", err)
			continue
		}
		switch m.event {
		case eventTranscript:
			e.n.Transcripts.Add(1)
			e.conf.Transcript(m.raw)
		case eventMedia:
			e.n.Media.Add(1)
			if err := e.made(&m); err != nil {
				e.n.Unused.Add(1)
				e.log.Debug("packet of exporter's service not forwarded", "source", m.tag, "err", err)
			}
		case eventStart, eventStop:
			if !m.timed { // the announcement of a stream
				e.n.Others.Add(1)
				break
			}
			if e.n.Changes.Add(1); (*e.requests.Load())[m.tag] {
				e.conf.Sending(m.tag, m.event == eventStart, uint32(m.ts))
			}
		case eventPong:
			select {
			case pongs <- m.id:
			default: // the one before is not looked at yet, so this one was not asked for
			}
		case eventInfo:
			e.n.Infos.Add(1)
			e.log.Info("exporter's service says what it is", "info", string(b[:min(len(b), 512)]))
		default:
			e.n.Others.Add(1)
		}
	}
}

var errUnasked = errors.New("source was not asked of this service")

// made forwards a packet of the service.
func (e *Exporter) made(m *message) error {
	if !(*e.requests.Load())[m.tag] {
		return errUnasked
	}
	return e.conf.Media(m.tag, uint16(m.chunk), uint32(m.ts), m.payload)
}

var errPing = errors.New("no pong in time")

// write sends audio and pings until the connection fails or ctx ends.
func (e *Exporter) write(ctx context.Context, conn *websocket.Conn, pongs <-chan int) error {
	send := func(b []byte) error {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
		defer cancel()
		return conn.Write(limit, websocket.MessageText, b)
	}
	e.connected.Store(true)
	defer e.discard()
	defer e.connected.Store(false)
	if e.exports.Load() != nil || len(*e.requests.Load()) > 0 {
		if err := e.sendSources(send); err != nil {
			return err
		}
	}
	if err := send(encode(infoMessage{"info", "confab", e.cfg.Version, e.cfg.Region})); err != nil {
		return err
	}
	var ticks, late <-chan time.Time
	if e.cfg.PingInterval > 0 {
		t := time.NewTicker(e.cfg.PingInterval)
		defer t.Stop()
		ticks = t.C
	}
	ping := 0
	s := newSerializer()
	for {
		var err error
		select {
		case <-ctx.Done():
			if err := send(encode(endMessage{"session-end"})); err == nil {
				_ = conn.Close(websocket.StatusGoingAway, "closing")
			}
			return ctx.Err()
		case h := <-e.queue:
			err = e.sendPacket(send, s, &h)
			h.Packet.Release()
		case <-e.renamed:
			err = e.sendSources(send)
		case <-ticks:
			ping++
			if err = send(encode(pingMessage{eventPing, ping})); late == nil && e.cfg.PingTimeout > 0 {
				late = time.After(e.cfg.PingTimeout)
			}
		case id := <-pongs:
			if id == ping {
				late = nil
			}
		case <-late:
			return errPing
		}
		if err != nil {
			return err
		}
	}
}

func (e *Exporter) sendPacket(send func([]byte) error, s *serializer, h *forward.Heard) error {
	if b := s.start(h, e.conf.Diarize); b != nil {
		if err := send(b); err != nil {
			return err
		}
	}
	e.n.Packets.Add(1)
	return send(s.media(h))
}

// sendSources says which sources are sent, of which none means all, and which are to be
// made.
func (e *Exporter) sendSources(send func([]byte) error) error {
	names := []string{}
	if set := e.exports.Load(); set != nil {
		names = slices.Sorted(maps.Keys(*set))
	}
	requests := slices.AppendSeq([]string{}, maps.Keys(*e.requests.Load()))
	slices.Sort(requests)
	return send(encode(sourcesMessage{"sources", names, requests}))
}

// discard lets go of what waits.
func (e *Exporter) discard() {
	for {
		select {
		case h := <-e.queue:
			h.Packet.Release()
		default:
			return
		}
	}
}
