package bridge

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"confab/bridge/channel"
	"confab/bridge/export"
	"confab/bridge/forward"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"

	"golang.org/x/time/rate"
)

// Connections to services that get the audio of a conference (bridge.md §21).

const (
	// maxConnects bounds those of one conference.
	maxConnects = 8
	// transcriptRate is how many results a second a service may send to everybody,
	// transcriptBurst at once.
	transcriptRate, transcriptBurst = 20, 100
)

// defaultPing is for pings of which the focus says no more.
var defaultPing = colibri2.Ping{Interval: 10 * time.Second, Timeout: 3 * time.Second}

// connection is an exporter with what it was made of.
type connection struct {
	colibri2.Connect
	exporter *export.Exporter
	stop     context.CancelFunc
}

// listeners are the exporters of a conference.
type listeners []*export.Exporter

// Heard implements forward.Listener.
func (l listeners) Heard(h forward.Heard) {
	for _, e := range l {
		e.Heard(h)
	}
}

func badConnect(format string, args ...any) *xmpp.StanzaError {
	return refused(xmpp.BadRequest(fmt.Sprintf(format, args...)))
}

// checkConnects refuses what can't be done before any of it is.
func (c *Conference) checkConnects(list []colibri2.Connect) error {
	expired, named := map[string]bool{}, map[string]bool{}
	for i := range list {
		if k := &list[i]; k.Expire {
			if expired[k.ID] {
				return badConnect("Duplicate expire for id=%s", k.ID)
			}
			expired[k.ID] = true
		}
	}
	n := len(c.connections)
	for i := range list {
		k := &list[i]
		if k.Expire {
			continue
		}
		known := c.connections[k.ID]
		switch {
		case named[k.ID]:
			return badConnect("Multiple connects for id=%s", k.ID)
		case k.Video:
			return unsupported("Video")
		case k.Protocol != colibri2.MediaJSON:
			return unsupported("Protocol " + k.Protocol)
		case k.Create && known != nil && !expired[k.ID]:
			return badConnect("Connect with create=true for an already-existing id=%s", k.ID)
		case !k.Create && expired[k.ID]:
			return badConnect("Connect update for id=%s expired in the same request", k.ID)
		case !k.Create && known == nil:
			return badConnect("Connect for unknown id=%s without create=true", k.ID)
		case !k.Create && !known.same(k):
			return unsupported("Updating a connect other than its sources")
		case k.Create && !c.mayExport(k.URL):
			return refused(xmpp.NotAllowed("The bridge may not connect to this host"))
		}
		if named[k.ID] = true; k.Create {
			n++
		}
	}
	if n > maxConnects+len(expired) {
		return refused(xmpp.ResourceConstraint("Too many connects"))
	}
	return nil
}

// same says whether k differs from what runs in no more than its sources.
func (n *connection) same(k *colibri2.Connect) bool {
	if len(n.Headers) != len(k.Headers) || (n.Ping == nil) != (k.Ping == nil) || n.Ping != nil && *n.Ping != *k.Ping {
		return false
	}
	for name := range n.Headers {
		if n.Headers.Get(name) != k.Headers.Get(name) {
			return false
		}
	}
	return n.URL == k.URL && n.Type == k.Type && n.Audio == k.Audio
}

// mayExport says whether the operator has named the host of a URL.
func (c *Conference) mayExport(to string) bool {
	u, err := url.Parse(to)
	return err == nil && slices.Contains(c.s.cfg.ExportHosts, u.Host)
}

// applyConnects carries out what checkConnects has let pass.
func (c *Conference) applyConnects(list []colibri2.Connect) {
	for i := range list {
		if list[i].Expire {
			c.disconnect(list[i].ID)
		}
	}
	for i := range list {
		switch k := &list[i]; {
		case k.Create:
			c.connect(k)
		case !k.Expire:
			known := c.connections[k.ID]
			known.Exports, known.Requests = k.Exports, k.Requests
			known.exporter.Rename(k.Exports, k.Requests)
		}
	}
	if list != nil {
		c.listenFor()
	}
}

func (c *Conference) connect(k *colibri2.Connect) {
	cfg := export.Config{URL: k.URL, Headers: k.Headers, Exports: k.Exports, Requests: k.Requests, Version: c.s.cfg.Version, Region: c.s.cfg.Region}
	if k.Ping != nil {
		cfg.PingInterval, cfg.PingTimeout = defaultPing.Interval, defaultPing.Timeout
		if k.Ping.Interval > 0 {
			cfg.PingInterval = k.Ping.Interval
		}
		if k.Ping.Timeout > 0 {
			cfg.PingTimeout = k.Ping.Timeout
		}
	}
	host := ""
	if u, err := url.Parse(k.URL); err == nil {
		host = u.Host // its path and query may be secrets
	}
	ctx, stop := context.WithCancel(context.Background())
	e := export.New(cfg, &exported{c, rate.NewLimiter(transcriptRate, transcriptBurst)}, &c.s.counters.export,
		c.log.With("connect", k.ID, "type", k.Type, "host", host))
	c.connections[k.ID] = &connection{Connect: *k, exporter: e, stop: stop}
	c.s.wg.Go(func() {
		defer c.s.guard("exporter")
		e.Run(ctx)
	})
}

// disconnect ends a connection; one that is not there is ended already.
func (c *Conference) disconnect(id string) {
	if n := c.connections[id]; n != nil {
		delete(c.connections, id)
		n.stop()
	}
}

// listenFor has all exporters that get audio hear it.
func (c *Conference) listenFor() {
	var l listeners
	for _, n := range c.connections {
		if n.Audio {
			l = append(l, n.exporter)
		}
	}
	if l == nil {
		c.pipe.Listen(nil)
		return
	}
	c.pipe.Listen(l)
}

// disconnectAll ends what the conference has connected to.
func (c *Conference) disconnectAll() {
	c.pipe.Listen(nil)
	for id := range c.connections {
		c.disconnect(id)
	}
}

// exported is the conference as its exporters see it, on goroutines of theirs.
type exported struct {
	c    *Conference
	rate *rate.Limiter
}

// Diarize implements export.Conference.
func (e *exported) Diarize(endpoint string) bool {
	_, ok := e.c.diarized.Load(endpoint)
	return ok
}

// Transcript implements export.Conference.
func (e *exported) Transcript(raw []byte) {
	// The last quarter of the mailbox is for what the conference can't do without.
	if !e.rate.Allow() || e.c.box.Len() > mailboxLimit*3/4 {
		e.c.s.counters.messagesDropped.Add(1)
		return
	}
	_ = e.c.put(evTranscript{raw})
}

// Media implements export.Conference.
func (e *exported) Media(source string, seq uint16, ts uint32, opus []byte) error {
	return e.c.pipe.Inject(source, seq, ts, opus)
}

// Sending implements export.Conference.
func (e *exported) Sending(source string, on bool, ts uint32) {
	if !e.rate.Allow() || e.c.box.Len() > mailboxLimit*3/4 {
		e.c.s.counters.messagesDropped.Add(1)
		return
	}
	_ = e.c.put(evSending{source, on, ts})
}

// evSending is the beginning or end of a source that a service makes.
type evSending struct {
	source string
	on     bool
	ts     uint32
}

func (e evSending) apply(c *Conference) {
	if !c.pipe.HasSynthetic(e.source) {
		return // the service has not heard yet that it is gone
	}
	b := channel.SyntheticSending(e.source, e.on, e.ts)
	for _, ep := range c.order {
		ep.send(b)
	}
}

// evTranscript is a result of a service that transcribes.
type evTranscript struct{ raw []byte }

func (e evTranscript) apply(c *Conference) {
	b := channel.Transcript(e.raw)
	for _, ep := range c.order {
		ep.send(b)
	}
}
