package focus

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	"confab/focus/sources"
	"confab/internal/mailbox"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// event is one of: a stanza for the conference, a conference request, anything
// else that happened.
type event struct {
	stanza  *xmpp.Stanza
	request *request
	do      func()
}

// state is where a conference stands between its creation and its end.
type state uint8

const (
	stateJoining state = iota
	stateJoined
	stateEnded
)

// Conference organises one room. It is owned by its goroutine.
type Conference struct {
	s      *Service
	room   xmpp.JID
	main   xmpp.JID // whose breakout room this is; zero = none, or not known yet
	me     xmpp.JID // room/focus
	log    *slog.Logger
	box    *mailbox.Box[event]
	ctx    context.Context
	cancel context.CancelFunc

	state     state
	waiting   []*waiter
	first     request // the one that made the conference
	meetingID string
	document  string // of the etherpad

	members map[string]*Member // by endpoint id = nick
	order   []*Member          // in order of joining
	owner   *Member            // the one whose ownership makes another grant needless
	book    *sources.Map
	dirty   map[string]bool // endpoints whose sources have changed since the last flush

	moderated map[string]*moderation // by media type
	metadata  jitmeet.RoomMetadata

	audioFull, videoFull   bool   // enough people send that
	audioLimit, videoLimit string // as published

	recording        *recording            // or live stream
	calls            map[string]*recording // to SIP devices, by address
	recordState      string                // as published
	callState        string
	transcriberComes bool
	transcriber      *bridgeSession // that sends audio to be transcribed
	audioRecording   string         // as published

	gallery *gallery // of visitors

	sessions  map[xmpp.JID]*bridgeSession // by bridge
	setbacks  int                         // bridge sessions lost lately
	lastBack  time.Time
	noBridge  bool // bridgeNotAvailable is published
	published string

	occupied bool      // somebody has been in
	switched time.Time // somebody has gone to a breakout room
	created  time.Time
	heads    headcount
	start    *time.Timer // nobody is in
	lonely   *time.Timer // one participant is left
	grace    *time.Timer // without a bridge
}

func newConference(s *Service, room xmpp.JID, first request) *Conference {
	c := &Conference{
		s: s, room: room, me: room.WithResource(Nick), first: first,
		log:      s.log.With("room", room.String()),
		created:  time.Now(),
		box:      mailbox.New[event](s.cfg.Mailbox),
		members:  map[string]*Member{},
		book:     sources.NewMap(sources.Limits{Sources: s.cfg.MaxSources, Groups: s.cfg.MaxSources}),
		dirty:    map[string]bool{},
		sessions: map[xmpp.JID]*bridgeSession{}, moderated: map[string]*moderation{},
		calls: map[string]*recording{},
	}
	c.gallery = c.newGallery()
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.document = room.Local
	if s.cfg.RandomDocument {
		c.document = newUUID()
	}
	return c
}

// run is the conference's goroutine.
func (c *Conference) run() {
	defer c.finish()
	c.guard(func() {
		c.enterRoom()
		c.armStart()
	})
	for c.state != stateEnded {
		events, err := c.box.Take(c.ctx)
		if err != nil {
			return
		}
		for i, ev := range events {
			if c.state == stateEnded {
				c.bounce(events[i:])
				break
			}
			c.guard(func() { c.handle(ev) })
		}
		c.guard(c.flushBridges)
		c.guard(c.flushSources)
	}
}

// flushBridges sends the bridges what the events have made necessary.
func (c *Conference) flushBridges() {
	c.placeTranscriber()
	for _, bs := range c.sessions {
		bs.next()
	}
}

// guard ends the conference, and not the program, when there is a mistake in it.
func (c *Conference) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.s.stats.panics.Add(1)
			c.log.Error("conference panics", "err", p, "stack", string(debug.Stack()))
			c.state = stateEnded
		}
	}()
	f()
}

func (c *Conference) handle(ev event) {
	switch s := ev.stanza; {
	case ev.do != nil:
		ev.do()
	case ev.request != nil:
		c.onRequest(*ev.request)
	case s.Kind == xmpp.Presence:
		c.onPresence(s)
	case s.IsRequest():
		if err := c.onIQ(s); err != nil {
			c.s.port.Send(err.Reply(s))
		}
	}
}

// finish leaves nothing behind: neither endpoints on bridges, nor requests
// without answer, nor the occupant.
func (c *Conference) finish() {
	shutdown := c.s.ctx.Err() != nil
	c.state = stateEnded
	c.guard(func() {
		for _, bs := range c.sessions {
			bs.expire()
		}
		c.stopRecordings()
		if !shutdown {
			c.s.port.Send(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", xmpp.JID{}, c.me, ""))
		}
	})
	c.guard(func() { c.stopGallery(shutdown) })
	for _, t := range []*time.Timer{c.start, c.lonely, c.grace} {
		stop(t)
	}
	for _, m := range c.order {
		m.stopTimers()
		if m.state != memberIdle {
			c.setState(m, memberIdle)
		}
		c.countTime(m)
	}
	c.s.stats.conferenceTime.Add(int64(time.Since(c.created)))
	// Requests that arrive from here on find the box closed or no conference, and
	// are answered "not ready".
	c.box.Close()
	c.s.forget(c)
	c.answer(false, nil)
	if rest, err := c.box.Take(c.ctx); err == nil {
		c.bounce(rest)
	}
	if !c.s.cfg.AutoLogin {
		c.s.auth.ended(c.room)
	}
	c.cancel()
	c.log.Info("conference ended", "conf", c.meetingID)
}

// bounce answers what came too late: IQs get an error, conference requests "not
// ready", so that the client asks again and gets another conference.
func (c *Conference) bounce(events []event) {
	for _, ev := range events {
		switch {
		case ev.request != nil:
			ev.request.reply(false, nil)
		case ev.stanza != nil && ev.stanza.IsRequest():
			c.s.port.Send(xmpp.ItemNotFound("").Reply(ev.stanza))
		}
	}
}

// end stops the conference after the event that is being handled.
func (c *Conference) end(why string) {
	c.log.Debug("conference ends", "why", why)
	c.state = stateEnded
}

// post hands f to the conference's goroutine. f is dropped when the conference
// has ended. One that is so far behind that f finds no room would wait for ever
// for what f brings: it ends.
func (c *Conference) post(f func()) {
	if errors.Is(c.box.Put(event{do: f}), mailbox.ErrFull) {
		c.overrun()
	}
}

func (c *Conference) overrun() {
	if c.ctx.Err() != nil {
		return
	}
	c.s.stats.overflows.Add(1)
	c.log.Error("conference overrun")
	c.cancel()
}

// after is f on the conference's goroutine once d has passed.
func (c *Conference) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { c.post(f) })
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// waiter is a conference request that waits for the focus to be in the room.
type waiter struct {
	req   request
	timer *time.Timer
}

// onRequest answers a conference request, or keeps it until the focus is in.
func (c *Conference) onRequest(r request) {
	if c.state == stateJoined {
		if len(c.members) == 0 {
			c.armStart()
		}
		c.grantAbsent(r.host)
		c.ready(r)
		// A host may have logged in on another connection meanwhile.
		c.grantHosts()
		return
	}
	w := &waiter{req: r}
	w.timer = c.after(c.s.cfg.JoinTimeout, func() {
		for i, other := range c.waiting {
			if other == w {
				c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
				r.reply(false, nil)
				return
			}
		}
	})
	c.waiting = append(c.waiting, w)
}

// answer answers all requests that wait.
func (c *Conference) answer(ready bool, err *xmpp.StanzaError) {
	waiting := c.waiting
	c.waiting = nil
	for _, w := range waiting {
		w.timer.Stop()
		if ready {
			c.grantAbsent(w.req.host)
			c.ready(w.req)
			continue
		}
		w.req.reply(false, err)
	}
}

// armStart (re)starts the time that an empty room has: the room would end with the
// focus, so that stays as long as the room is to.
func (c *Conference) armStart() {
	d := c.s.cfg.StartTimeout
	if c.occupied {
		d = max(d, c.s.cfg.Linger)
	}
	stop(c.start)
	var t *time.Timer
	t = c.after(d, func() {
		// People in breakout rooms come back; when these have ended it is armed anew.
		if c.start == t && len(c.members) == 0 && !c.s.hasBreakouts(c.room) {
			c.end("nobody came")
		}
	})
	c.start = t
}

// breakoutEnded: those who were in the breakout room may be on their way.
func (c *Conference) breakoutEnded() {
	if c.state == stateJoined && len(c.members) == 0 {
		c.armStart()
	}
}

func (c *Conference) stopStart() {
	stop(c.start)
	c.start = nil
}
