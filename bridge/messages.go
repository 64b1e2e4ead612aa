package bridge

import (
	"errors"
	"net/http"
	"strings"

	"confab/bridge/channel"
	"confab/bridge/forward"
	"confab/bridge/transport"
)

// transportChanged follows a transport into and out of use.
func (c *Conference) transportChanged(ep *endpoint, st transport.State) {
	switch st {
	case transport.StateConnected:
		if ep.connected.IsZero() {
			ep.connected = now()
			c.s.counters.iceSucceeded.Add(1)
			if ep.transport.Stats().Relayed {
				c.s.counters.iceRelayed.Add(1)
			}
		}
		ep.fwd.SetSender(sender{ep.transport})
		c.dirty[ep] = true
	case transport.StateFailed:
		if errors.Is(ep.transport.Err(), transport.ErrPeerClosed) {
			c.log.Debug("client ended its transport", "endpoint", ep.id)
			return // on its way out; the focus or the time takes the endpoint away
		}
		if errors.Is(ep.transport.Err(), transport.ErrPanic) {
			// ICE would go on, and the client wait for media that never comes. The focus
			// learns of it by unknown_endpoint, and the client gets a new endpoint.
			c.log.Error("endpoint ended by a panic", "endpoint", ep.id)
			c.remove(ep)
			return
		}
		// The client notices as well and asks the focus for a restart; until then
		// the endpoint only expires by time.
		n := &c.s.counters
		switch ice := errors.Is(ep.transport.Err(), transport.ErrICE); {
		case !ice:
			n.endpointsDTLSFailed.Add(1)
		case ep.connected.IsZero():
			n.endpointsICEFailed.Add(1)
			fallthrough
		default:
			n.iceFailed.Add(1)
		}
		c.log.Info("transport failed", "endpoint", ep.id, "err", ep.transport.Err())
	}
}

// channelOpened brings a client up to date (bridge.md §6.3).
func (c *Conference) channelOpened(ep *endpoint, ws *channel.Conn) {
	if ws != nil {
		if ep.ws != nil {
			ep.ws.Close(channel.ErrReplaced)
		}
		ep.ws, ep.overWS = ws, true
		ep.send(channel.ServerHello())
	} else {
		ep.sctp, ep.overWS = true, false
	}
	c.bringUpToDate(ep)
	if ep.rewriting {
		c.mapAudio(ep, c.pipe.Voices(recentVoices), nil)
		c.dirty[ep] = true // which maps video
	}
}

// bringUpToDate sends all that a client must know.
func (c *Conference) bringUpToDate(ep *endpoint) {
	ep.behind = false
	clear(ep.told)
	c.constrainSender(ep)
	ep.send(channel.ForwardedSources(ep.alloc.forwarded))
	if ep.endpoints {
		ep.send(channel.LastNEndpoints(c.owners(ep.alloc.forwarded)))
	}
	c.sendMaps(ep)
	for _, o := range c.order {
		if o.inactive {
			ep.send(channel.Connectivity(o.id, false))
		}
	}
	if order := c.speakers.Order(); len(order) > 0 {
		ep.send(channel.DominantSpeaker(order[0], order[1:]))
	}
}

// closeChannel ends the channel of an endpoint that is going.
func (ep *endpoint) closeChannel() {
	if ep.ws != nil {
		ep.ws.Close(channel.ErrExpired)
		ep.ws = nil
	}
}

// message acts on a message of a client.
func (c *Conference) message(ep *endpoint, m channel.Incoming) {
	switch m := m.(type) {
	case channel.Hello:
		ep.send(channel.ServerHello())
	case channel.ReceiverConstraints:
		c.constraints(ep, m)
	case channel.SelectedHeight:
		ep.oldHeight = m.MaxHeight
		c.dirty[ep] = true
	case channel.VideoType:
		name := m.Source
		if name == "" {
			name = ep.id + "-v0"
		}
		// Only of its own sources, and only as many as it can have.
		_, known := ep.videoTypes[name]
		if strings.HasPrefix(name, ep.id+"-") && (known || len(ep.videoTypes) < maxVideoTypes) {
			ep.videoTypes[name] = m.Type
			c.allDirty = true
		}
	case channel.AudioSubscription:
		ep.fwd.Subscribe(forward.Subscription{All: m.All, Include: set(m.Include), Exclude: set(m.Exclude)})
	case channel.Relayed:
		c.relay(ep, m)
	}
}

func set(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

// maxVideoTypes bounds the sources whose types are remembered for a client.
const maxVideoTypes = 64

// constraints merges what the receiver said into what it said before.
func (c *Conference) constraints(ep *endpoint, m channel.ReceiverConstraints) {
	if m.Endpoints && !ep.endpoints {
		// It missed what was said before in the form it does not know.
		ep.endpoints = true
		clear(ep.told)
		c.toConstrain[ep] = true
		if len(ep.alloc.forwarded) > 0 {
			ep.send(channel.LastNEndpoints(c.owners(ep.alloc.forwarded)))
		}
	}
	ep.want = c.s.cfg.Alloc.Merge(ep.want, m.Message, !ep.heard)
	ep.heard = true
	c.dirty[ep] = true
}

func (c *Conference) announceConnectivity(ep *endpoint) {
	b := channel.Connectivity(ep.id, !ep.inactive)
	for _, o := range c.order {
		o.send(b)
	}
}

// ChannelHandler serves /colibri-ws/SERVER/CONFERENCE/ENDPOINT?pwd= (bridge.md
// §6.2). Wrong ids and wrong passwords get one answer, so nothing can be probed.
func (s *Service) ChannelHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, path, _ := strings.Cut(r.URL.Path, "/colibri-ws/")
		ids := strings.Split(path, "/")
		if len(ids) != 3 {
			http.Error(w, "invalid path", http.StatusNotFound)
			return
		}
		if ids[0] != s.cfg.ID {
			http.Error(w, "server ID mismatch", http.StatusNotFound)
			return
		}
		ep := s.authenticate(ids[1], ids[2], r.URL.Query().Get("pwd"))
		if ep == nil {
			http.Error(w, "authentication failed", http.StatusForbidden)
			return
		}
		leave, ok := s.enter()
		if !ok {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		defer leave()
		conn, err := channel.Accept(w, r, s.cfg.Channel)
		if err != nil {
			return // Accept has answered
		}
		if ep.c.put(evChannel{ep, conn}) != nil {
			conn.Close(channel.ErrExpired)
		}
		s.counters.socketEnds[conn.Serve(func(b []byte) { ep.received(b, true) })].Add(1)
		_ = ep.c.put(evChannelGone{ep, conn})
	})
}
