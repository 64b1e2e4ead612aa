package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"confab/xmpp"
)

// room fills one large room with plain XMPP clients and reports what its events
// cost: the join of the last one, everybody's presence at once, chat, and with a
// Jitsi server muting and breakout rooms. The same command against any other XMPP
// server with MUC, -plain, is the comparison.
func room(ctx context.Context, args []string) error {
	var t target
	fs := t.flags("room")
	people := fs.Int("people", 500, "occupants; the server must admit them (rooms.max_occupants)")
	muc := fs.String("muc", "", "domain of the rooms (conference.DOMAIN)")
	messages := fs.Int("messages", 20, "chat messages, one after the other")
	plain := fs.Bool("plain", false, "a server without Jitsi's features: only joins, presence and chat")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := errors.Join(bounded("people", *people, 3, maxClients), bounded("messages", *messages, 1, 1000)); err != nil {
		return err
	}
	if *muc == "" {
		*muc = "conference." + t.domain
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	f := &fullRoom{t: &t, room: roomName("room", 0) + "@" + *muc, done: make(chan struct{}, 1), update: make(chan string, 1)}
	defer f.close()
	begun := time.Now()
	if err := f.fill(ctx, *people-1); err != nil {
		return err
	}
	f.out = append(f.out, figure{"occupants", *people}, figure{"seconds until all but one are in", time.Since(begun).Seconds()})
	stories := []func(context.Context) error{
		f.lastJoin, f.storm, func(ctx context.Context) error { return f.chat(ctx, *messages) },
	}
	if !*plain {
		stories = append(stories, f.moderation, f.muteAll, f.breakouts)
	}
	for _, story := range stories {
		if err := story(ctx); err != nil {
			return err
		}
	}
	memory, err := residentMB(t.pid)
	if err != nil {
		return err
	}
	return t.report(append(f.out, figure{"resident MB", memory}))
}

// fullRoom is the room and who is in it.
type fullRoom struct {
	t    *target
	room string
	all  []*occupant
	out  []figure

	wanted atomic.Pointer[regexp.Regexp] // what the present event looks like
	done   chan struct{}                 // signalled when all that was expected is there
	update chan string                   // the latest list of breakout rooms, as JSON
	mu     sync.Mutex
	begun  time.Time
	left   int
	took   []time.Duration
}

func (f *fullRoom) hear(o *occupant, raw string) {
	if strings.HasPrefix(raw, "<iq") && strings.Contains(raw, "disco#info") {
		f.describe(o, raw)
		return
	}
	if o == f.first() && strings.Contains(raw, "breakout-rooms/update") {
		select {
		case <-f.update:
		default:
		}
		f.update <- raw
	}
	want := f.wanted.Load()
	if want == nil || !want.MatchString(raw) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.took = append(f.took, time.Since(f.begun))
	if f.left--; f.left == 0 {
		f.done <- struct{}{}
	}
}

// describe answers who asks what the client can: nothing. The focus leaves such
// clients alone.
func (f *fullRoom) describe(o *occupant, raw string) {
	s, err := xmpp.ParseStanza(raw, xmpp.DefaultLimits, xmpp.Scope{})
	if err != nil || s.Type != xmpp.TypeGet {
		return
	}
	r := s.Result(`<query xmlns="http://jabber.org/protocol/disco#info"><feature var="http://jabber.org/protocol/caps"/></query>`)
	_ = o.send(string(r.Append(nil, r.To, true))) // who is gone waits for nothing
}

func (f *fullRoom) first() *occupant {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) == 0 {
		return nil
	}
	return f.all[0]
}

func (f *fullRoom) add(o *occupant) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, o)
}

func (f *fullRoom) enter(ctx context.Context, i int) error {
	o, err := occupy(ctx, f.t, f.room, fmt.Sprintf("%08x", i), `<nick xmlns="http://jabber.org/protocol/nick">Person `+strconv.Itoa(i)+`</nick><SourceInfo>{}</SourceInfo>`, f.hear)
	if err == nil {
		f.add(o)
	}
	return err
}

// fill brings n people in, the moderator first.
func (f *fullRoom) fill(ctx context.Context, n int) error {
	if err := f.enter(ctx, 0); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(dialAtOnce)
	for i := 1; i < n; i++ {
		g.Go(func() error {
			if i%50 == 0 {
				f.t.say("%d of %d are in", i, n)
			}
			return f.enter(gctx, i)
		})
	}
	return g.Wait()
}

func (f *fullRoom) close() {
	var g errgroup.Group
	g.SetLimit(dialAtOnce)
	for _, o := range f.all {
		g.Go(func() error { o.close(); return nil })
	}
	_ = g.Wait()
}

// event does something n times and waits each time until `each` stanzas that match
// have arrived; it reports how long the slowest took and what one time cost.
func (f *fullRoom) event(ctx context.Context, name, match string, n, each int, act func(i int) error) error {
	f.t.say("%s", name)
	before, err := cpuSeconds(f.t.pid)
	if err != nil {
		return err
	}
	f.wanted.Store(regexp.MustCompile(match))
	var slowest []time.Duration
	for i := range n {
		f.mu.Lock()
		f.begun, f.left, f.took = time.Now(), each, f.took[:0]
		f.mu.Unlock()
		if err := act(i); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			f.mu.Lock()
			defer f.mu.Unlock()
			return fmt.Errorf("%s: %d of %d did not arrive: %w", name, f.left, each, ctx.Err())
		}
		f.mu.Lock()
		slowest = append(slowest, f.took[len(f.took)-1])
		f.mu.Unlock()
	}
	f.wanted.Store(nil)
	after, err := cpuSeconds(f.t.pid)
	if err != nil {
		return err
	}
	f.out = append(f.out, spread(name+": until the slowest has it", slowest)[0],
		figure{name + ": server CPU ms", (after - before) / float64(n) * 1000})
	return nil
}

func (f *fullRoom) lastJoin(ctx context.Context) error {
	n := len(f.all)
	return f.event(ctx, "last join", fmt.Sprintf(`^<presence.*/%08x`, n), 1, n+1, func(int) error { return f.enter(ctx, n) })
}

// storm is everybody's presence at once, as when all hands are raised.
func (f *fullRoom) storm(ctx context.Context) error {
	n := len(f.all)
	return f.event(ctx, "presence of all at once", `^<presence.*<bench`, 1, n*n, func(int) error {
		var g errgroup.Group
		for _, o := range f.all {
			g.Go(func() error {
				return o.send(`<presence xmlns="jabber:client" to="` + f.room + "/" + o.nick + `"><bench xmlns="urn:bench">1</bench></presence>`)
			})
		}
		return g.Wait()
	})
}

func (f *fullRoom) chat(ctx context.Context, n int) error {
	return f.event(ctx, "chat message", `^<message.*<body>`, n, len(f.all), func(i int) error {
		return f.all[i%len(f.all)].message(f.room, "groupchat", "<body>good morning</body>")
	})
}

// component is the address of one of the room's services.
func (f *fullRoom) component(name string) string { return name + "." + f.t.domain }

// moderation switches it on and off: everybody is told.
func (f *fullRoom) moderation(ctx context.Context) error {
	return f.event(ctx, "AV moderation switched", `"type":"av_moderation".*"enabled"|&quot;av_moderation&quot;.*enabled`, 10, len(f.all), func(i int) error {
		return f.all[0].message(f.component("avmoderation"), "", fmt.Sprintf(`<av_moderation enable="%t" mediaType="audio"/>`, i%2 == 0))
	})
}

// muteAll is "mute everyone": a request to the focus for each, as the web app does it.
func (f *fullRoom) muteAll(ctx context.Context) error {
	n := len(f.all) - 1
	return f.event(ctx, "mute all", `^<iq.*jitmeet/audio`, 1, n, func(int) error {
		for i, o := range f.all[1:] {
			err := f.all[0].send(`<iq xmlns="jabber:client" type="set" id="m` + strconv.Itoa(i) + `" to="` + f.room + `/focus"><mute xmlns="http://jitsi.org/jitmeet/audio" jid="` +
				f.room + "/" + o.nick + `">true</mute></iq>`)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// breakoutAddress finds the rooms in the list that a moderator gets.
var breakoutAddress = regexp.MustCompile(`jid(?:"|&quot;):(?:"|&quot;)([0-9a-f-]{36}@breakout\.[^"&]+)`)

// breakouts makes ten rooms and sends everybody to one of them.
func (f *fullRoom) breakouts(ctx context.Context) error {
	const rooms = 10
	for i := range rooms {
		err := f.all[0].message(f.component("breakout"), "", `<breakout_rooms type="features/breakout-rooms/add" subject="Room `+strconv.Itoa(i)+`"/>`)
		if err != nil {
			return err
		}
	}
	var to []string
	for len(to) < rooms {
		select {
		case raw := <-f.update:
			to = to[:0]
			for _, m := range breakoutAddress.FindAllStringSubmatch(raw, -1) {
				to = append(to, m[1])
			}
		case <-ctx.Done():
			return fmt.Errorf("list of breakout rooms: %w", ctx.Err())
		}
	}
	return f.event(ctx, "breakout assignment of all", "breakout-rooms/move-to-room", 1, len(f.all)-1, func(int) error {
		for i, o := range f.all[1:] {
			err := f.all[0].message(f.component("breakout"), "", `<breakout_rooms type="features/breakout-rooms/move-to-room" participantJid="`+o.jid+`" roomJid="`+to[i%rooms]+`"/>`)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
