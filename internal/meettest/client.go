package meettest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"confab/xmpp"
)

// Client is one participant. Its methods are safe for concurrent use.
type Client struct {
	opt      Options
	jid      xmpp.JID
	nick     string
	resumeID string
	pushed   atomic.Pointer[xmpp.DiscoInfo] // identities of the push message
	changes  *notifier
	ended    chan struct{} // closed by end
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	work     chan func() // what the reader must not wait for, in order
	ids      atomic.Uint64
	machine  string
	opened   time.Time
	hand     atomic.Int64 // since when it is raised, in milliseconds; 0 = it isn't

	stanzas  history[*xmpp.Stanza]
	messages history[ChannelMessage]

	out outgoing

	mu       sync.Mutex
	err      error
	services []ICEService
	pending  map[string]pendingIQ
	room     *room
	session  *session
	local    *localMedia
	received uint32 // stanzas since <enabled/>
}

// outgoing is the sending half: what is not acknowledged and the stream.
type outgoing struct {
	mu      sync.Mutex
	stream  *stream // nil while cut off
	sm      bool
	sent    uint32 // stanzas since <enabled/>
	acked   uint32
	asked   uint32 // value of sent at the last <r/>
	unacked []string
	reader  chan struct{} // closed when the reader of stream is gone
	cut     bool          // the end of the reader is wanted
}

type pendingIQ struct {
	to    string
	reply chan *xmpp.Stanza
}

// ICEService is an entry of XEP-0215 or of the metadata's services.
type ICEService struct {
	Type      string `json:"type"`
	Host      string `json:"host"`
	Port      string `json:"port"`
	Transport string `json:"transport"`
	Username  string `json:"username"`
	Password  string `json:"password"`
}

// hexNick is what LJM makes a nickname of: the head of an anonymous user's UUID.
var hexNick = regexp.MustCompile(`^[0-9a-f]{8}`)

// Dial connects, logs in and does what LJM does up to CONNECTED: stream
// management, then disco and external services unless they were pushed.
func Dial(ctx context.Context, opt Options) (*Client, error) {
	opt.orDefault()
	run, cancel := context.WithCancel(context.Background())
	c := &Client{
		opt: opt, changes: newNotifier(), ended: make(chan struct{}), ctx: run, cancel: cancel,
		work: make(chan func(), 1024), pending: map[string]pendingIQ{}, machine: randomHex(16),
	}
	c.local = newLocalMedia(opt.Media)
	if err := c.connect(ctx); err != nil {
		cancel()
		return nil, err
	}
	c.wg.Go(c.worker)
	if err := c.discover(ctx); err != nil {
		c.Kill()
		return nil, err
	}
	return c, nil
}

func (c *Client) connect(ctx context.Context) error {
	s, features, err := c.dialStream(ctx, "")
	if err != nil {
		return err
	}
	if c.jid, err = s.bind(ctx, features); err == nil {
		c.nick = hexNick.FindString(c.jid.Local)
		if c.nick == "" || c.opt.Account != "" {
			c.nick = randomHex(4)
		}
		c.local.name(c.nick)
		if features.Child(nsSM, "sm") != nil && !c.opt.NoResume {
			c.resumeID, err = s.enable(ctx)
			c.out.sm = true
		}
	}
	if err != nil {
		_ = s.ws.CloseNow()
		return err
	}
	c.opened = s.opened
	c.attach(s)
	return nil
}

func (c *Client) attach(s *stream) {
	gone := make(chan struct{})
	c.out.stream, c.out.reader = s, gone
	c.wg.Go(func() {
		defer close(gone)
		c.reader(s)
	})
}

// worker runs what takes time, in order.
func (c *Client) worker() {
	for {
		select {
		case f := <-c.work:
			f()
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Client) do(f func()) {
	select {
	case c.work <- f:
	default:
		c.end(errors.New("client too slow for its signalling"))
	}
}

// JID is the bound address.
func (c *Client) JID() xmpp.JID { return c.jid }

// Nick is the room nickname and endpoint id: eight hex digits.
func (c *Client) Nick() string { return c.nick }

// Opened is when the WebSocket was open, before the first byte of XMPP.
func (c *Client) Opened() time.Time { return c.opened }

// Services are the STUN and TURN servers learnt last.
func (c *Client) Services() []ICEService {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.services)
}

// Err is why the client ended by itself, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done is closed when the client has ended, by itself or by Close or Kill.
func (c *Client) Done() <-chan struct{} { return c.ended }

func (c *Client) label() string {
	if c.opt.Name != "" {
		return c.opt.Name + " (" + c.nick + ")"
	}
	return c.nick
}

// end stops the client for a reason; the first counts.
func (c *Client) end(err error) {
	c.mu.Lock()
	select {
	case <-c.ended:
		c.mu.Unlock()
		return
	default:
	}
	c.err = err
	close(c.ended)
	c.mu.Unlock()
	c.opt.Log.Debug("client ended", "endpoint", c.nick, "err", err)
	c.cancel()
}

// fault ends the client.
func (c *Client) fault(rule, stanza string) { c.end(&Fault{rule, stanza}) }

// Close logs out as a closing page does: presence, close frame, socket.
func (c *Client) Close() error {
	c.out.mu.Lock()
	s := c.out.stream
	c.out.cut = true
	c.out.mu.Unlock()
	var err error
	if s != nil && c.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(c.ctx, iqPatience)
		err = s.write(ctx, `<presence type="unavailable" xmlns="jabber:client"/>`)
		if err == nil {
			err = s.write(ctx, closeFrame)
		}
		cancel()
		_ = s.ws.Close(websocket.StatusNormalClosure, "") // a browser does the closing handshake
	}
	c.Kill()
	return err
}

// Kill drops everything without a word, as a crashed page does.
func (c *Client) Kill() {
	c.end(nil)
	c.out.mu.Lock()
	s := c.out.stream
	c.out.stream = nil
	c.out.mu.Unlock()
	if s != nil {
		_ = s.ws.CloseNow()
	}
	c.closeSession()
	c.wg.Wait()
	c.closeSession() // one that the worker was just accepting
}

func (c *Client) closeSession() {
	c.mu.Lock()
	sess := c.session
	c.session = nil
	c.mu.Unlock()
	if sess != nil {
		sess.close()
	}
}

// Cut loses the network of the signalling without a word to the server.
func (c *Client) Cut() {
	c.out.mu.Lock()
	s, gone := c.out.stream, c.out.reader
	c.out.stream, c.out.cut = nil, true
	c.out.mu.Unlock()
	if s != nil {
		_ = s.ws.CloseNow()
		<-gone
	}
}

// Refresh takes another token, as LJM's JitsiConnection.refreshToken does: it drops
// the connection and resumes with the new one.
func (c *Client) Refresh(ctx context.Context, token string) error {
	c.Cut()
	c.opt.Token = token
	return c.Resume(ctx)
}

// Resume comes back in the session that was (client-signaling §4.3): a new stream
// with previd, login again, <resume/>. After Cut the old socket is gone; without,
// it is still there, as for a client that lost its network before the server
// noticed, and the server has to end it.
func (c *Client) Resume(ctx context.Context) error {
	c.out.mu.Lock()
	old, gone := c.out.stream, c.out.reader
	c.out.stream, c.out.cut = nil, true
	c.out.mu.Unlock()
	s, features, err := c.dialStream(ctx, c.resumeID)
	if err != nil {
		return err
	}
	if features.Child(nsSM, "sm") == nil {
		return &Fault{"sm among the features when resuming", features.String()}
	}
	c.mu.Lock()
	counted := c.received
	c.mu.Unlock()
	h, err := s.resume(ctx, c.resumeID, counted)
	if err != nil {
		_ = s.ws.CloseNow()
		return err
	}
	if old != nil {
		select {
		case <-gone:
		case <-ctx.Done():
			_ = s.ws.CloseNow()
			return fmt.Errorf("%s waited for the end of its old socket: %w", c.label(), ctx.Err())
		}
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if err := c.out.acknowledged(h); err != nil {
		_ = s.ws.CloseNow()
		return err
	}
	for _, raw := range c.out.unacked {
		if err := s.write(ctx, raw); err != nil {
			return err
		}
	}
	c.out.cut = false
	c.attach(s)
	return nil
}

// acknowledged drops what the server has counted. Called with o.mu held.
func (o *outgoing) acknowledged(h uint32) error {
	if h-o.acked > o.sent-o.acked {
		return &Fault{"acknowledgements between the last one and what was sent",
			fmt.Sprintf("h=%d, acknowledged %d, sent %d", h, o.acked, o.sent)}
	}
	o.unacked = o.unacked[h-o.acked:]
	o.acked = h
	return nil
}

// SendXML sends a stanza as it is. While cut off it is kept for the resume.
func (c *Client) SendXML(raw string) error {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sm {
		o.unacked = append(o.unacked, raw)
		o.sent++
	}
	if o.stream == nil {
		if o.sm && c.ctx.Err() == nil {
			return nil
		}
		return errEnded
	}
	if err := o.stream.write(c.ctx, raw); err != nil {
		return err
	}
	if o.sm && o.sent-max(o.acked, o.asked) >= ackEvery {
		o.asked = o.sent
		return o.stream.write(c.ctx, ackRequest)
	}
	return nil
}

// Send sends a stanza made of parts; to may be empty.
func (c *Client) Send(kind xmpp.Kind, typ, id, to, inner string) error {
	var e xmpp.Enc
	e.Start(kind.String(), "").AttrIf("id", id).AttrIf("to", to).AttrIf("type", typ).Attr("xmlns", xmpp.NSClient)
	return c.SendXML(e.Raw(inner).End().String())
}

// IQ sends a request and waits for its answer; an error is a *xmpp.StanzaError.
func (c *Client) IQ(ctx context.Context, typ, to, inner string) (*xmpp.Stanza, error) {
	id := strconv.FormatUint(c.ids.Add(1), 36) + ":sendIQ"
	p := pendingIQ{to: to, reply: make(chan *xmpp.Stanza, 1)}
	c.mu.Lock()
	c.pending[id] = p
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	if err := c.Send(xmpp.IQ, typ, id, to, inner); err != nil {
		return nil, err
	}
	select {
	case s := <-p.reply:
		if s.Type == xmpp.TypeError {
			return nil, s.ErrorOf()
		}
		return s, nil
	case <-c.ended:
		if err := c.Err(); err != nil {
			return nil, err
		}
		return nil, errEnded
	case <-ctx.Done():
		return nil, fmt.Errorf("%s waited for the answer of %s to %.200s: %w", c.label(), to, inner, ctx.Err())
	}
}

// Ping is XEP-0199 to the host.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.IQ(ctx, xmpp.TypeGet, c.opt.Domain, `<ping xmlns="urn:xmpp:ping"/>`)
	return err
}

// Expect waits for a stanza that matches and has not been taken by an earlier
// Expect; it may have come before.
func (c *Client) Expect(ctx context.Context, what string, match func(*xmpp.Stanza) bool) (*xmpp.Stanza, error) {
	var got *xmpp.Stanza
	err := c.Until(ctx, what, func() (ok bool) {
		got, ok = c.stanzas.take(match)
		return ok
	})
	return got, err
}

// ExpectMessage is Expect for the bridge channel.
func (c *Client) ExpectMessage(ctx context.Context, class string, match func(json.RawMessage) bool) (json.RawMessage, error) {
	var got ChannelMessage
	err := c.Until(ctx, class+" on the bridge channel", func() (ok bool) {
		got, ok = c.messages.take(func(m ChannelMessage) bool {
			return m.Class == class && (match == nil || match(m.Raw))
		})
		return ok
	})
	return got.Raw, err
}

// discover asks for what was not pushed (client-signaling §5.1, §5.3).
func (c *Client) discover(ctx context.Context) error {
	if p := c.pushed.Load(); p != nil && component(p, "room_metadata") != "" {
		return nil // services come with the room's metadata
	}
	reply, err := c.IQ(ctx, xmpp.TypeGet, c.opt.Domain, `<services xmlns="urn:xmpp:extdisco:2"/>`)
	if err != nil {
		return fmt.Errorf("external services: %w", err)
	}
	c.readServices(reply.Payload())
	if c.pushed.Load() != nil {
		return nil
	}
	reply, err = c.IQ(ctx, xmpp.TypeGet, c.opt.Domain, `<query xmlns="http://jabber.org/protocol/disco#info"/>`)
	if err != nil {
		return fmt.Errorf("disco: %w", err)
	}
	c.pushed.Store(parseDisco(reply.Payload()))
	return nil
}

func (c *Client) readServices(el *xmpp.Element) {
	var out []ICEService
	for _, s := range el.Children("", "service") {
		out = append(out, ICEService{
			Type: s.Get("type"), Host: s.Get("host"), Port: s.Get("port"), Transport: s.Get("transport"),
			Username: s.Get("username"), Password: s.Get("password"),
		})
	}
	c.mu.Lock()
	c.services = out
	c.mu.Unlock()
	c.changes.changed()
}

func parseDisco(el *xmpp.Element) *xmpp.DiscoInfo {
	d := &xmpp.DiscoInfo{}
	for _, k := range el.Children("", "identity") {
		d.Identities = append(d.Identities, xmpp.Identity{Category: k.Get("category"), Type: k.Get("type"), Name: k.Get("name")})
	}
	for _, k := range el.Children("", "feature") {
		d.Features = append(d.Features, k.Get("var"))
	}
	return d
}

// component is the address of a component by identity type; LJM ignores the
// category.
func component(d *xmpp.DiscoInfo, typ string) string {
	if d == nil {
		return ""
	}
	for _, id := range d.Identities {
		if id.Type == typ {
			return id.Name
		}
	}
	return ""
}

// Component is the address of a component that the server announced, or "".
func (c *Client) Component(typ string) string { return component(c.pushed.Load(), typ) }

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
