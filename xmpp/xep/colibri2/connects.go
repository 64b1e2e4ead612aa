package colibri2

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"confab/xmpp"
)

// MediaJSON is the protocol of all connections to other services so far.
const MediaJSON = "mediajson"

// Types of Connect.
const (
	ConnectRecorder    = "recorder"
	ConnectTranscriber = "transcriber"
	ConnectTranslator  = "translator"
)

// Connect has the bridge connect to another service and send it the media of the
// conference (bridge.md §21). Its id is its identity: one is created, updated and
// expired by it.
type Connect struct {
	ID       string
	Create   bool
	Expire   bool
	URL      string // ws: or wss:; absent when it expires
	Protocol string
	Type     string
	Audio    bool
	Video    bool
	Headers  http.Header // of the request that opens the WebSocket
	Ping     *Ping
	Exports  []string // names of the sources that are sent; none: all
	Requests []string // names of the sources that are to come back
}

// Ping are the messages by which a dead connection is noticed; zero means "not said".
type Ping struct{ Interval, Timeout time.Duration }

// ErrConnect is what is wrong with a <connect/> of a wrong form; its text is public.
var ErrConnect = errors.New("malformed connect")

func parseConnects(el *xmpp.Element) ([]Connect, error) {
	out := []Connect{}
	for _, k := range el.Kids {
		if k.Name != "connect" {
			continue
		}
		c, err := parseConnect(k)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func parseConnect(el *xmpp.Element) (Connect, error) {
	c := Connect{
		ID: el.Get("id"), Create: el.Get("create") == "true", Expire: el.Get("expire") == "true", URL: el.Get("url"),
		Protocol: strings.ToLower(el.Get("protocol")), Type: strings.ToLower(el.Get("type")),
		Audio: el.Get("audio") == "true", Video: el.Get("video") == "true",
	}
	if c.ID == "" {
		return c, fmt.Errorf("connect: %w", ErrNoID)
	}
	if c.Expire {
		return c, nil
	}
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
		return c, fmt.Errorf("%w: url", ErrConnect)
	}
	switch c.Type {
	case ConnectRecorder, ConnectTranscriber, ConnectTranslator:
	default:
		return c, fmt.Errorf("%w: type", ErrConnect)
	}
	for _, k := range el.Kids {
		switch k.Name {
		case "http-header":
			name := k.Get("name")
			if !headerName(name) {
				return c, fmt.Errorf("%w: name of a header", ErrConnect)
			}
			if c.Headers == nil {
				c.Headers = http.Header{}
			}
			// A line break would begin another header.
			c.Headers.Set(name, strings.NewReplacer("\r", "", "\n", "").Replace(k.Get("value")))
		case "ping":
			c.Ping = &Ping{Interval: millis(k.Get("interval")), Timeout: millis(k.Get("timeout"))}
		case "exports":
			c.Exports = names(k, "export")
		case "requests":
			c.Requests = names(k, "request")
		}
	}
	return c, nil
}

func headerName(s string) bool {
	for _, r := range s {
		if r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return s != ""
}

func millis(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

func names(el *xmpp.Element, kid string) []string {
	var out []string
	for _, k := range el.Kids {
		if name := k.Get("name"); k.Name == kid && name != "" {
			out = append(out, name)
		}
	}
	return out
}

func encodeConnects(e *xmpp.Enc, list []Connect) {
	e.Start("connects", "")
	for i := range list {
		list[i].encode(e)
	}
	e.End()
}

func (c *Connect) encode(e *xmpp.Enc) {
	e.Start("connect", "").Attr("id", c.ID)
	flag(e, "create", c.Create)
	flag(e, "expire", c.Expire)
	e.AttrIf("url", c.URL).AttrIf("protocol", c.Protocol).AttrIf("type", c.Type)
	flag(e, "audio", c.Audio)
	flag(e, "video", c.Video)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		e.Start("http-header", "").Attr("name", name).Attr("value", c.Headers.Get(name)).End()
	}
	if p := c.Ping; p != nil {
		e.Start("ping", "")
		e.Attr("interval", strconv.FormatInt(p.Interval.Milliseconds(), 10)).Attr("timeout", strconv.FormatInt(p.Timeout.Milliseconds(), 10))
		e.End()
	}
	encodeNames(e, "exports", "export", c.Exports)
	encodeNames(e, "requests", "request", c.Requests)
	e.End()
}

func encodeNames(e *xmpp.Enc, list, item string, names []string) {
	if len(names) == 0 {
		return
	}
	e.Start(list, "")
	for _, n := range names {
		e.Start(item, "").Attr("name", n).End()
	}
	e.End()
}
