package bridge

import (
	"confab/bridge/channel"
	"confab/bridge/transport"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// event is what reaches a Conference's goroutine; the types here are all there are.
type event interface{ apply(c *Conference) }

// evModify is a colibri2 request.
type evModify struct {
	iq *xmpp.Stanza
	m  *colibri2.Modify
}

// evState is a change of an endpoint's transport.
type evState struct {
	ep    *endpoint
	state transport.State
}

// evChannel is an opened bridge channel; ws is nil for the data channel.
type evChannel struct {
	ep *endpoint
	ws *channel.Conn
}

// evChannelGone is the end of a WebSocket.
type evChannelGone struct {
	ep *endpoint
	ws *channel.Conn
}

// evMessage is a message of the bridge channel.
type evMessage struct {
	ep *endpoint
	ws bool // it came over the WebSocket
	m  channel.Incoming
}

// evDebug asks for the conference's state.
type evDebug struct{ reply chan<- any }

func (e evModify) apply(c *Conference) { c.modify(e.iq, e.m) }

func (e evState) apply(c *Conference) {
	if c.endpoints[e.ep.id] == e.ep {
		c.transportChanged(e.ep, e.state)
	}
}

func (e evChannel) apply(c *Conference) {
	if c.endpoints[e.ep.id] != e.ep {
		if e.ws != nil {
			e.ws.Close(channel.ErrExpired)
		}
		return
	}
	c.channelOpened(e.ep, e.ws)
}

func (e evChannelGone) apply(*Conference) {
	if e.ep.ws == e.ws {
		e.ep.ws = nil
	}
}

func (e evMessage) apply(c *Conference) {
	e.ep.waiting.Add(-1)
	if c.endpoints[e.ep.id] == e.ep {
		e.ep.overWS = e.ws
		c.message(e.ep, e.m)
	}
}

func (e evDebug) apply(c *Conference) { e.reply <- c.debug() }

// tooLate takes an event that came when the conference had ended: requests are
// answered as if it had never been, sockets are closed.
func (c *Conference) tooLate(e event) {
	switch e := e.(type) {
	case evModify:
		c.refuse(e.iq, notFound())
	case evChannel:
		if e.ws != nil {
			e.ws.Close(channel.ErrExpired)
		}
	}
}
