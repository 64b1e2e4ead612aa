package muc

import (
	"errors"
	"time"

	"confab/xmpp"
)

// A plain XMPP client's join to a room without focus is an implicit conference
// request (room-services.md §3.1). A room that is missing exists meanwhile as a list
// of joins that wait; only the focus's entry makes it a room. A breakout room is
// there before anybody is in it, and the focus leaves it when the last person does.

// summonRetry is how long a focus that is not ready is left alone.
const summonRetry = time.Second

// await parks a join to a room that the focus has not entered yet.
func (r *Room) await(j *Join) {
	if r.sv.port == nil || j.Client.Room != "" {
		r.refuse(j, xmpp.NotAllowed(TextCreation))
		r.endIfEmpty()
		return
	}
	r.park(j, UntilFocus)
}

// ask sends the focus the request that a stock client would have sent. The full
// address of the session on whose behalf it is stands in the attribute
// "on-behalf-of", which the focus believes only from a MUC domain of this server.
func (r *Room) ask(j *Join) {
	var e xmpp.Enc
	e.Start("conference", NSFocus).Attr("room", r.jid.String()).Attr("on-behalf-of", j.Real.String())
	e.AttrIf("token", j.Client.Token).End()
	s := xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", r.sv.port.JID(), r.sv.cfg.FocusService, e.String())
	r.sv.port.Go(s, r.sv.cfg.ParkTime, func(reply *xmpp.Stanza, err error) {
		// When the room is gone, so is the join.
		_ = r.post(r.sv.ctx, event{kind: evResult, fn: func() { r.answered(j, reply, err) }}, false)
	})
}

func (r *Room) answered(j *Join, reply *xmpp.Stanza, err error) {
	if r.parkedOf(j.Real) != j {
		return
	}
	if err == nil {
		if reply.Child(NSFocus, "conference").Get("ready") == "true" {
			return // granted: the focus enters, or the parking ends by its time
		}
		r.After(summonRetry, func() {
			if r.parkedOf(j.Real) == j {
				r.ask(j)
			}
		})
		return
	}
	r.unpark(j)
	text := TextCreation
	var se *xmpp.StanzaError
	if errors.As(err, &se) {
		if text = se.Text; text == "" {
			text = se.Cond
		}
	}
	r.refuse(j, xmpp.NotAllowed(text))
	r.endIfEmpty()
}
