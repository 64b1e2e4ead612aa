package meettest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"mellium.im/sasl"

	"confab/xmpp"
)

// Literal stream elements, as strophe writes them.
const (
	nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind    = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSM      = "urn:xmpp:sm:3"
	nsStream  = "http://etherx.jabber.org/streams"
	nsSession = "urn:ietf:params:xml:ns:xmpp-session"

	closeFrame = `<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>`
	ackRequest = `<r xmlns="urn:xmpp:sm:3"/>`
	// ackEvery is after how many stanzas LJM asks for an acknowledgement.
	ackEvery = 5
)

var errEnded = errors.New("client ended")

// SASLError is a refused login.
type SASLError struct{ Cond, Text string }

func (e *SASLError) Error() string { return "login refused: " + e.Cond + " " + e.Text }

// ErrPasswordRequired is what LJM makes of a host on which it can't log in
// without an account (PASSWORD_REQUIRED).
var ErrPasswordRequired = errors.New("password required")

// stream is one WebSocket up to bind or resume. It is used by one goroutine for
// reading; write may be called by any.
type stream struct {
	c      *Client
	ws     *websocket.Conn
	opened time.Time
	mu     sync.Mutex // one writer at a time, in the order of the SM counter
}

// dialStream opens a WebSocket and logs in: RFC 7395 §3, SASL, second open.
// It returns the features after login.
func (c *Client) dialStream(ctx context.Context, previd string) (*stream, *xmpp.Element, error) {
	u, err := url.Parse(c.opt.URL)
	if err != nil {
		return nil, nil, fmt.Errorf("server url: %w", err)
	}
	q := u.Query()
	q.Set("room", c.opt.Room)
	if c.opt.Token != "" {
		q.Set("token", c.opt.Token)
	}
	if c.opt.CustomUsername != "" {
		q.Set("customusername", c.opt.CustomUsername)
	}
	if previd != "" {
		q.Set("previd", previd)
	}
	u.RawQuery = q.Encode()
	ws, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		Subprotocols: []string{"xmpp"}, HTTPClient: c.httpClient(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("dial %s: %w", u.Redacted(), err)
	}
	s := &stream{c: c, ws: ws, opened: time.Now()}
	features, err := s.open(ctx)
	if err != nil {
		_ = ws.CloseNow()
		return nil, nil, err
	}
	return s, features, nil
}

// httpClient accepts the self-signed certificate of a test server, finds its
// domain at the address of Options.URL, and shares no connection: each client is
// another browser.
func (c *Client) httpClient() *http.Client {
	var d net.Dialer
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // test client
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, port, err := net.SplitHostPort(addr); err == nil {
				addr = net.JoinHostPort(c.resolve(host), port)
			}
			return d.DialContext(ctx, network, addr)
		},
	}}
}

// resolve is the address of a host: the domain of a test server has no DNS.
func (c *Client) resolve(host string) string {
	if u, err := url.Parse(c.opt.URL); err == nil && (host == c.opt.Domain || host == c.opt.Server) {
		return u.Hostname()
	}
	return host
}

func (s *stream) open(ctx context.Context) (*xmpp.Element, error) {
	if sp := s.ws.Subprotocol(); sp != "xmpp" {
		return nil, &Fault{"the server selects the WebSocket subprotocol xmpp", sp}
	}
	s.ws.SetReadLimit(4 << 20)
	features, err := s.greet(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.authenticate(ctx, features); err != nil {
		return nil, err
	}
	return s.greet(ctx)
}

// greet exchanges <open/> and reads features.
func (s *stream) greet(ctx context.Context) (*xmpp.Element, error) {
	var e xmpp.Enc
	e.Start("open", "").Attr("to", s.c.opt.Login).Attr("version", "1.0").Attr("xmlns", nsFraming).End()
	if err := s.write(ctx, e.String()); err != nil {
		return nil, err
	}
	raw, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	// strophe tests the characters, then the literal attributes.
	if !strings.HasPrefix(raw, "<open ") && !strings.HasPrefix(raw, "<?xml") {
		return nil, &Fault{"the first frame begins with '<open '", raw}
	}
	open, err := xmpp.ParseElement(raw, xmpp.DefaultLimits, xmpp.Scope{})
	if err != nil || open.Name != "open" || open.NS != nsFraming || open.Get("version") != "1.0" {
		return nil, &Fault{"<open/> of the framing namespace and version 1.0, alone in its frame", raw}
	}
	if raw, err = s.read(ctx); err != nil {
		return nil, err
	}
	features, err := xmpp.ParseElement(raw, xmpp.DefaultLimits, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil || features.Name != "features" || features.NS != nsStream {
		return nil, &Fault{"features alone in the frame after <open/>", raw}
	}
	return features, nil
}

// authenticate takes the mechanism that LJM would: it knows ANONYMOUS, PLAIN and
// SCRAM-SHA-1 (client-signaling §4.1).
func (s *stream) authenticate(ctx context.Context, features *xmpp.Element) error {
	offered := map[string]bool{}
	for _, m := range features.Child(nsSASL, "mechanisms").Children("", "mechanism") {
		offered[strings.TrimSpace(m.Text)] = true
	}
	if s.c.opt.Account == "" {
		if !offered["ANONYMOUS"] {
			return ErrPasswordRequired
		}
		return s.sasl(ctx, nil, `<auth mechanism="ANONYMOUS" xmlns="`+nsSASL+`"/>`)
	}
	mech := s.c.opt.Mechanism
	if mech == "" {
		mech = "SCRAM-SHA-1"
	}
	if !offered[mech] {
		return fmt.Errorf("server does not offer %s", mech)
	}
	mechanism := sasl.ScramSha1
	if mech == "PLAIN" {
		mechanism = sasl.Plain
	}
	neg := sasl.NewClient(mechanism, sasl.Credentials(func() (user, password, identity []byte) {
		return []byte(s.c.opt.Account), []byte(s.c.opt.Password), nil
	}))
	_, first, err := neg.Step(nil)
	if err != nil {
		return fmt.Errorf("%s: %w", mech, err)
	}
	return s.sasl(ctx, neg, `<auth mechanism="`+mech+`" xmlns="`+nsSASL+`">`+base64.StdEncoding.EncodeToString(first)+`</auth>`)
}

func (s *stream) sasl(ctx context.Context, neg *sasl.Negotiator, first string) error {
	if err := s.write(ctx, first); err != nil {
		return err
	}
	for {
		raw, err := s.read(ctx)
		if err != nil {
			return err
		}
		el, err := xmpp.ParseElement(raw, xmpp.DefaultLimits, xmpp.Scope{})
		if err != nil || el.NS != nsSASL {
			return &Fault{"a SASL element with its literal xmlns", raw}
		}
		data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(el.Text))
		if err != nil {
			return &Fault{"base64 in SASL", raw}
		}
		switch el.Name {
		case "success":
			if neg != nil && len(data) > 0 { // SCRAM: the server proves itself, too
				if _, _, err := neg.Step(data); err != nil {
					return fmt.Errorf("server signature: %w", err)
				}
			} else if neg != nil && strings.HasPrefix(s.c.opt.mechanism(), "SCRAM") {
				return &Fault{"v= in the success of SCRAM", raw}
			}
			return nil
		case "challenge":
			if neg == nil {
				return &Fault{"no challenge to ANONYMOUS", raw}
			}
			_, resp, err := neg.Step(data)
			if err != nil {
				return fmt.Errorf("sasl: %w", err)
			}
			if err := s.write(ctx, `<response xmlns="`+nsSASL+`">`+base64.StdEncoding.EncodeToString(resp)+`</response>`); err != nil {
				return err
			}
		case "failure":
			e := &SASLError{Text: el.ChildText("", "text")}
			for _, k := range el.Kids {
				if k.Name != "text" {
					e.Cond = k.Name
				}
			}
			return e
		default:
			return &Fault{"success, challenge or failure", raw}
		}
	}
}

func (o *Options) mechanism() string {
	if o.Mechanism == "" {
		return "SCRAM-SHA-1"
	}
	return o.Mechanism
}

// bind asks for a resource and returns the full address. The push message comes
// before the result (client-signaling §5.2).
func (s *stream) bind(ctx context.Context, features *xmpp.Element) (xmpp.JID, error) {
	if features.Child(nsBind, "bind") == nil {
		return xmpp.JID{}, &Fault{"bind among the features after login", features.String()}
	}
	if err := s.write(ctx, `<iq id="_bind_auth_2" type="set" xmlns="jabber:client"><bind xmlns="`+nsBind+`"/></iq>`); err != nil {
		return xmpp.JID{}, err
	}
	reply, err := s.until(ctx, "_bind_auth_2")
	if err != nil {
		return xmpp.JID{}, err
	}
	if reply.Type != xmpp.TypeResult {
		return xmpp.JID{}, fmt.Errorf("bind: %w", reply.ErrorOf())
	}
	jid, err := xmpp.ParseJID(reply.Child(nsBind, "bind").ChildText("", "jid"))
	if err != nil || jid.Resource == "" {
		return xmpp.JID{}, &Fault{"a full address in the result of bind", reply.String()}
	}
	if features.Child(nsSession, "session") != nil { // strophe does it even when optional
		if err := s.write(ctx, `<iq id="_session_auth_2" type="set" xmlns="jabber:client"><session xmlns="`+nsSession+`"/></iq>`); err != nil {
			return xmpp.JID{}, err
		}
		if _, err := s.until(ctx, "_session_auth_2"); err != nil {
			return xmpp.JID{}, err
		}
	}
	return jid, nil
}

// until reads stanzas up to the IQ with that id; what comes before is handled.
func (s *stream) until(ctx context.Context, id string) (*xmpp.Stanza, error) {
	for {
		raw, err := s.read(ctx)
		if err != nil {
			return nil, err
		}
		st, err := xmpp.ParseStanza(raw, xmpp.DefaultLimits, xmpp.Scope{})
		if err != nil {
			return nil, &Fault{"a stanza before the result of " + id, raw}
		}
		if st.Kind == xmpp.IQ && st.ID == id {
			return st, nil
		}
		s.c.systemMessage(st)
	}
}

// enable turns stream management on. strophe sends nothing until the answer.
func (s *stream) enable(ctx context.Context) (id string, err error) {
	if err := s.write(ctx, `<enable resume="true" xmlns="`+nsSM+`"/>`); err != nil {
		return "", err
	}
	raw, err := s.read(ctx)
	if err != nil {
		return "", err
	}
	el, err := xmpp.ParseElement(raw, xmpp.DefaultLimits, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil || el.Name != "enabled" || el.NS != nsSM || el.Get("resume") != "true" {
		return "", &Fault{"<enabled resume='true'/> at once, since sm was among the features", raw}
	}
	id = el.Get("id")
	if id == "" || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return "", &Fault{"a resumption id of letters, digits, _ and - only", raw}
	}
	return id, nil
}

// resume asks for the old session; h is what the server has counted of ours.
func (s *stream) resume(ctx context.Context, previd string, counted uint32) (h uint32, err error) {
	var e xmpp.Enc
	e.Start("resume", "").Attr("h", strconv.FormatUint(uint64(counted), 10)).Attr("previd", previd).Attr("xmlns", nsSM).End()
	if err := s.write(ctx, e.String()); err != nil {
		return 0, err
	}
	raw, err := s.read(ctx)
	if err != nil {
		return 0, err
	}
	el, err := xmpp.ParseElement(raw, xmpp.DefaultLimits, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil || el.NS != nsSM {
		return 0, &Fault{"<resumed/> or <failed/>", raw}
	}
	if el.Name != "resumed" || el.Get("previd") != previd {
		return 0, fmt.Errorf("resume refused: %s", raw)
	}
	n, err := strconv.ParseUint(el.Get("h"), 10, 32)
	if err != nil {
		return 0, &Fault{"h of <resumed/>", raw}
	}
	return uint32(n), nil
}

// read returns the next frame.
func (s *stream) read(ctx context.Context) (string, error) {
	typ, b, err := s.ws.Read(ctx)
	if err != nil {
		return "", fmt.Errorf("websocket: %w", err)
	}
	s.c.opt.Log.Debug("received", "xml", string(b))
	if typ != websocket.MessageText {
		return "", &Fault{"text frames only", fmt.Sprintf("%d bytes", len(b))}
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return "", &Fault{"no empty frame", ""}
	}
	raw := string(b)
	if tag, found := prefixed(raw); found {
		return "", &Fault{"no namespace prefixes (" + tag + ")", raw}
	}
	return raw, nil
}

func (s *stream) write(ctx context.Context, raw string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.c.opt.Log.Debug("sent", "xml", raw)
	if err := s.ws.Write(ctx, websocket.MessageText, []byte(raw)); err != nil {
		return fmt.Errorf("websocket: %w", err)
	}
	return nil
}
