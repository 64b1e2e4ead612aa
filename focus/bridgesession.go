package focus

import (
	"errors"
	"slices"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// bridgeSession is the part of a conference on one bridge. It speaks colibri2: what
// is wanted during one turn of the conference goes out together, in order.
type bridgeSession struct {
	c      *Conference
	bridge xmpp.JID
	region string
	id     string // clients echo it when they want a restart

	queue   []*bridgeOp
	sent    int             // requests without an answer
	busy    map[string]bool // their endpoints
	alone   bool            // one of them makes or ends the conference
	live    bool            // the bridge knows the conference
	remote  map[string]bool // endpoints that the bridge has once all requests sent are done
	dead    bool            // dropped: answers are void
	connect bool            // it is to send audio to be transcribed
	// connected says that the bridge was told so, since it has the conference.
	connected bool
	faults    int // internal errors in a row
	version   string
}

type opKind uint8

const (
	opCreate opKind = iota
	opUpdate
	opExpire
)

// bridgeOp is what is wanted of the bridge for one endpoint.
type bridgeOp struct {
	kind opKind
	ep   colibri2.Endpoint
	made bool                                   // it made the conference on the bridge
	done func(ep *colibri2.Endpoint, err error) // of opCreate and ICE restarts
}

// simple reports whether the operation may share a request with others of its kind:
// bridges take several endpoints at once only to expire them and to force-mute them
// (bridge.md §3.4).
func (op *bridgeOp) simple() bool {
	return op.kind == opExpire || op.kind == opUpdate && op.done == nil &&
		op.ep.Transport == nil && op.ep.Sources == nil && len(op.ep.Media) == 0 && op.ep.ForceMute != nil
}

// maxBatch bounds the endpoints of one request.
const maxBatch = 256

func newBridgeSession(c *Conference, bridge xmpp.JID, region string) *bridgeSession {
	return &bridgeSession{c: c, bridge: bridge, region: region, id: newUUID(), busy: map[string]bool{}, remote: map[string]bool{}}
}

// allocate creates an endpoint. done is called on the conference's goroutine
// unless the session is dropped first.
func (bs *bridgeSession) allocate(ep colibri2.Endpoint, done func(*colibri2.Endpoint, error)) {
	bs.queue = append(bs.queue, &bridgeOp{kind: opCreate, ep: ep, done: done})
}

// update changes an endpoint. It is merged into an update that waits.
func (bs *bridgeSession) update(ep colibri2.Endpoint) {
	if op := bs.waiting(ep.ID); op != nil && op.kind == opUpdate && op.done == nil {
		merge(&op.ep, &ep)
		return
	}
	bs.queue = append(bs.queue, &bridgeOp{kind: opUpdate, ep: ep})
}

// waiting is the last request for an endpoint that has not been sent.
func (bs *bridgeSession) waiting(id string) *bridgeOp {
	for _, op := range slices.Backward(bs.queue) {
		if op.ep.ID == id {
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
}

// remove expires an endpoint and takes back what has not been sent for it.
func (bs *bridgeSession) remove(id string) {
	bs.queue = slices.DeleteFunc(bs.queue, func(op *bridgeOp) bool { return op.kind != opExpire && op.ep.ID == id })
	if !bs.remote[id] || bs.waiting(id) != nil { // what waits is its expiry
		return
	}
	bs.queue = append(bs.queue, &bridgeOp{kind: opExpire, ep: colibri2.Endpoint{ID: id, Expire: true}})
}

// next sends what waits. A bridge handles the requests to a conference in the order
// in which they come (bridge.md §1), so they don't wait for each other's answers: 75
// people who join at once cost two round trips, not 75. Only those for the same
// endpoint do, because the answer decides what to ask next, and all wait for the one
// that makes or ends the conference: until it is answered another one may meet a
// conference that is there already, or not any more.
func (bs *bridgeSession) next() {
	for !bs.dead && !bs.alone {
		ops := bs.take()
		if len(ops) == 0 {
			break
		}
		bs.send(ops)
	}
	bs.nextConnect()
}

// take removes from the queue what makes up the next request.
func (bs *bridgeSession) take() []*bridgeOp {
	var ops, rest []*bridgeOp
	held := map[string]bool{}
	for i, op := range bs.queue {
		id := op.ep.ID
		fits := len(ops) == 0 || op.simple() && ops[0].simple() && op.kind == ops[0].kind && len(ops) < maxBatch
		if bs.busy[id] || held[id] || !fits {
			held[id] = true
			rest = append(rest, op)
			continue
		}
		if op.kind == opCreate && !bs.live && bs.sent > 0 {
			rest = append(rest, bs.queue[i:]...)
			break
		}
		ops = append(ops, op)
		held[id] = true
	}
	bs.queue = rest
	return ops
}

// send makes one request of operations of one kind.
func (bs *bridgeSession) send(ops []*bridgeOp) {
	m := colibri2.Modify{MeetingID: bs.c.meetingID}
	for _, op := range ops {
		m.Endpoints = append(m.Endpoints, op.ep)
		bs.busy[op.ep.ID] = true
		switch op.kind {
		case opCreate:
			m.Create = !bs.live
			if m.Create {
				m.Name = bs.c.room.String()
			}
			op.made, bs.alone, bs.live = m.Create, m.Create, true
			bs.remote[op.ep.ID] = true
		case opExpire:
			delete(bs.remote, op.ep.ID)
			// A conference without endpoints expires by itself (JVB).
			bs.live = len(bs.remote) > 0
			bs.alone = !bs.live
			bs.connected = bs.connected && bs.live
		}
	}
	bs.sent++
	get := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, bs.bridge, m.String())
	bs.c.s.port.Go(get, bs.c.s.cfg.ReplyTimeout, func(reply *xmpp.Stanza, err error) {
		bs.c.post(func() { bs.answered(ops, reply, err) })
	})
}

var errNoAnswer = errors.New("the answer is no conference-modified")

func (bs *bridgeSession) answered(ops []*bridgeOp, reply *xmpp.Stanza, err error) {
	bs.sent--
	bs.alone = false
	for _, op := range ops {
		delete(bs.busy, op.ep.ID)
	}
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
	op := ops[0] // the only one, unless they are simple
	switch {
	case err != nil && op.kind == opCreate:
		delete(bs.remote, op.ep.ID)
		bs.live = bs.live && len(bs.remote) > 0 || mayBeThere(err)
		bs.connected = bs.connected && bs.live
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
