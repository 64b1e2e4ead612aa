package focus

import (
	"errors"
	"slices"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// bridgeSession is the part of a conference on one bridge. It speaks colibri2:
// one request at a time, in order, later ones coalesced.
type bridgeSession struct {
	c      *Conference
	bridge xmpp.JID
	region string
	id     string // clients echo it when they want a restart

	queue   []*bridgeOp
	busy    bool
	live    bool            // the bridge knows the conference
	remote  map[string]bool // endpoints that the bridge has once all requests sent are done
	dead    bool            // dropped: answers are void
	faults  int             // internal errors in a row
	version string
}

type opKind uint8

const (
	opCreate opKind = iota
	opUpdate
	opExpire
)

// bridgeOp is a request, for one endpoint or, when it expires, several.
type bridgeOp struct {
	kind opKind
	ep   colibri2.Endpoint
	ids  []string                               // of opExpire
	made bool                                   // it made the conference on the bridge
	done func(ep *colibri2.Endpoint, err error) // of opCreate and ICE restarts
}

func newBridgeSession(c *Conference, bridge xmpp.JID, region string) *bridgeSession {
	return &bridgeSession{c: c, bridge: bridge, region: region, id: newUUID(), remote: map[string]bool{}}
}

// allocate creates an endpoint. done is called on the conference's goroutine
// unless the session is dropped first.
func (bs *bridgeSession) allocate(ep colibri2.Endpoint, done func(*colibri2.Endpoint, error)) {
	bs.queue = append(bs.queue, &bridgeOp{kind: opCreate, ep: ep, done: done})
	bs.next()
}

// update changes an endpoint. It is merged into an update that waits.
func (bs *bridgeSession) update(ep colibri2.Endpoint) {
	if op := bs.waiting(ep.ID); op != nil && op.kind == opUpdate && op.done == nil {
		merge(&op.ep, &ep)
		return
	}
	bs.queue = append(bs.queue, &bridgeOp{kind: opUpdate, ep: ep})
	bs.next()
}

// waiting is the last request for an endpoint that has not been sent.
func (bs *bridgeSession) waiting(id string) *bridgeOp {
	for _, op := range slices.Backward(bs.queue) {
		if op.ep.ID == id || slices.Contains(op.ids, id) {
			return op
		}
	}
	return nil
}

func merge(to, from *colibri2.Endpoint) {
	if from.Transport != nil {
		to.Transport = mergeTransports(to.Transport, from.Transport)
	}
	if from.Sources != nil {
		to.Sources = from.Sources
	}
	if from.ForceMute != nil {
		to.ForceMute = from.ForceMute
	}
	if from.InitialLastN != nil {
		to.InitialLastN = from.InitialLastN
	}
}

// mergeTransports is b, with what of a it does not repeat: the candidates that the
// client of December 2021 sends by themselves come without the fingerprint.
func mergeTransports(a, b *colibri2.Transport) *colibri2.Transport {
	if a == nil || a.ICE == nil || b.ICE == nil {
		return b
	}
	out, ice := *b, *b.ICE
	if len(ice.Fingerprints) == 0 {
		ice.Fingerprints = a.ICE.Fingerprints
	}
	if ice.Ufrag == a.ICE.Ufrag {
		ice.Candidates = slices.Concat(a.ICE.Candidates, ice.Candidates)
	}
	out.ICE = &ice
	return &out
}

// restartICE asks for new ICE credentials.
func (bs *bridgeSession) restartICE(id string, done func(*colibri2.Endpoint, error)) {
	ep := colibri2.Endpoint{ID: id, Transport: &colibri2.Transport{ICERestart: true}}
	bs.queue = append(bs.queue, &bridgeOp{kind: opUpdate, ep: ep, done: done})
	bs.next()
}

// remove expires an endpoint and takes back what has not been sent for it.
func (bs *bridgeSession) remove(id string) {
	bs.queue = slices.DeleteFunc(bs.queue, func(op *bridgeOp) bool { return op.kind != opExpire && op.ep.ID == id })
	if !bs.remote[id] {
		return
	}
	if n := len(bs.queue); n > 0 && bs.queue[n-1].kind == opExpire {
		bs.queue[n-1].ids = append(bs.queue[n-1].ids, id)
		return
	}
	bs.queue = append(bs.queue, &bridgeOp{kind: opExpire, ids: []string{id}})
	bs.next()
}

// next sends the first request that waits, when none is under way.
func (bs *bridgeSession) next() {
	if bs.busy || bs.dead || len(bs.queue) == 0 {
		return
	}
	op := bs.queue[0]
	bs.queue = bs.queue[1:]
	m := colibri2.Modify{MeetingID: bs.c.meetingID}
	switch op.kind {
	case opCreate:
		m.Create = !bs.live
		if m.Create {
			m.Name = bs.c.room.String()
		}
		op.made, bs.live = m.Create, true
		bs.remote[op.ep.ID] = true
		m.Endpoints = []colibri2.Endpoint{op.ep}
	case opUpdate:
		m.Endpoints = []colibri2.Endpoint{op.ep}
	case opExpire:
		for _, id := range op.ids {
			delete(bs.remote, id)
			m.Endpoints = append(m.Endpoints, colibri2.Endpoint{ID: id, Expire: true})
		}
		// A conference without endpoints expires by itself (JVB).
		bs.live = len(bs.remote) > 0
	}
	bs.busy = true
	get := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, bs.bridge, m.String())
	bs.c.s.port.Go(get, bs.c.s.cfg.ReplyTimeout, func(reply *xmpp.Stanza, err error) {
		bs.c.post(func() { bs.answered(op, reply, err) })
	})
}

var errNoAnswer = errors.New("the answer is no conference-modified")

func (bs *bridgeSession) answered(op *bridgeOp, reply *xmpp.Stanza, err error) {
	bs.busy = false
	if bs.dead {
		return
	}
	var m *colibri2.Modified
	if err == nil {
		if el := reply.Child(colibri2.NS, "conference-modified"); el != nil {
			m, err = colibri2.ParseModified(el)
		} else {
			err = errNoAnswer
		}
	}
	switch {
	case err != nil && op.kind == opCreate:
		delete(bs.remote, op.ep.ID)
		bs.live = bs.live && len(bs.remote) > 0 || mayBeThere(err)
		op.done(nil, err)
	case err != nil:
		bs.c.updateFailed(bs, op, err)
	default:
		bs.faults = 0
		if m.Feedback != nil {
			bs.c.placeholders(m.Feedback, op.made)
		}
		if op.done != nil {
			op.done(m.Endpoint(op.ep.ID), nil)
		}
	}
	bs.next()
}

// mayBeThere reports whether the bridge may have the conference although it has
// refused the endpoint: it must be told when the session is dropped, else the
// next one finds the conference taken.
func mayBeThere(err error) bool {
	ce := colibri2.ReadError(err)
	return errors.Is(err, xmpp.ErrTimeout) || ce != nil && ce.Reason == colibri2.ReasonConferenceAlreadyExists
}

// expire ends the whole conference on the bridge; its answer is of no interest.
func (bs *bridgeSession) expire() {
	if bs.dead {
		return
	}
	bs.dead, bs.queue = true, nil
	if !bs.live && len(bs.remote) == 0 {
		return
	}
	m := colibri2.Modify{MeetingID: bs.c.meetingID, Expire: true}
	get := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, bs.bridge, m.String())
	bs.c.s.port.Go(get, bs.c.s.cfg.ReplyTimeout, func(*xmpp.Stanza, error) {})
}
