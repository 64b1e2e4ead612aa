package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/datachannel"
	"github.com/pion/dtls/v3"
	"golang.org/x/sync/errgroup"

	"confab/internal/meettest"
	"confab/internal/swarm"
	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

// confab is our own server, joined as a stock client does: XMPP, Jingle, and the
// bridge channel over SCTP.
type confab struct{ t *target }

// joining is how many members come in at the same time.
const joining = 8

func (c confab) enter(ctx context.Context, s *swarm.Swarm, room string, members []*member) (leave func(), err error) {
	_, leave, err = c.join(ctx, s, room, members)
	return leave, err
}

// join is enter that tells of the clients, in the order of members.
func (c confab) join(ctx context.Context, s *swarm.Swarm, room string, members []*member) (in []*confabMember, leave func(), err error) {
	var mu sync.Mutex
	var clients []*meettest.Client
	leave = func() {
		mu.Lock()
		defer mu.Unlock()
		var wg sync.WaitGroup
		for _, cl := range clients {
			wg.Go(func() { _ = cl.Close() })
		}
		wg.Wait()
		closeAll(members)
	}
	ends := make([]*confabMember, len(members))
	known := &sources{ssrcs: map[string]uint32{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	accepting, accepted := errgroup.WithContext(ctx)
	err = inParallel(ctx, joining, members, func(ctx context.Context, m *member) error {
		cm := &confabMember{m: m, room: room, known: known, began: time.Now(), offers: make(chan *jingle.Jingle, 4), open: make(chan struct{})}
		cl, err := meettest.Dial(ctx, meettest.Options{URL: c.t.url, Domain: c.t.domain, Silent: true, Observe: cm.observe})
		if err != nil {
			return err
		}
		cm.c = cl
		videos := 0
		for _, t := range m.tracks {
			name, _ := cm.name(t, videos)
			if t.Kind == swarm.Video {
				videos++
				known.add(name, t)
			}
		}
		mu.Lock()
		clients = append(clients, cl)
		ends[slices.Index(members, m)] = cm
		mu.Unlock()
		if err := cl.Join(ctx, room); err != nil {
			return fmt.Errorf("join %s: %w", room, err)
		}
		// The offer comes when there are two.
		accepting.Go(func() error { return cm.accept(accepted, s) })
		return nil
	})
	if err != nil {
		cancel()
	}
	if e := accepting.Wait(); err == nil {
		err = e
	}
	if err != nil {
		leave()
		return nil, nil, err
	}
	return ends, leave, nil
}

// sources are the videos of a room, by name: clients learn their SSRCs from Jingle.
type sources struct {
	mu    sync.Mutex
	ssrcs map[string]uint32
}

func (s *sources) add(name string, t *swarm.Track) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ssrcs[name] = t.SSRCs[0] // the bridge sends all encodings as one stream
}

func (s *sources) of(names []string) (out []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range names {
		out = append(out, s.ssrcs[n])
	}
	return out
}

// confabMember is one client's session with the focus.
type confabMember struct {
	m      *member
	c      *meettest.Client
	room   string
	known  *sources
	sid    string
	began  time.Time
	offers chan *jingle.Jingle
	open   chan struct{} // closed when the bridge channel is open
	leg    *swarm.Leg

	mu      sync.Mutex
	channel *datachannel.DataChannel
	screen  *swarm.Track // that is shared, under mu
}

// screenName is the source of a shared screen.
func (cm *confabMember) screenName() string { return cm.c.Nick() + "-v1" }

// share begins to share a screen as LJM does: source-add, then the type of the
// source on the channel.
func (cm *confabMember) share(ctx context.Context, t *swarm.Track) error {
	cm.mu.Lock()
	cm.screen = t
	cm.mu.Unlock()
	cm.known.add(cm.screenName(), t)
	if err := cm.source(ctx, jingle.SourceAdd, t); err != nil {
		return err
	}
	cm.say(map[string]any{"colibriClass": "SourceVideoTypeMessage", "sourceName": cm.screenName(), "videoType": jingle.Desktop})
	cm.leg.Send(t)
	return nil
}

// unshare ends that.
func (cm *confabMember) unshare(ctx context.Context) error {
	cm.mu.Lock()
	t := cm.screen
	cm.screen = nil
	cm.mu.Unlock()
	cm.leg.Stop(t)
	cm.say(map[string]any{"colibriClass": "SourceVideoTypeMessage", "sourceName": cm.screenName(), "videoType": "none"})
	return cm.source(ctx, jingle.SourceRemove, t)
}

func (cm *confabMember) source(ctx context.Context, action string, t *swarm.Track) error {
	d := &jingle.Description{Media: jingle.Video}
	d.Sources, d.Groups = describe(t, cm.c.Nick(), cm.screenName(), jingle.Desktop)
	focus := cm.c.RoomJID(cm.room).WithResource("focus").String()
	j := jingle.Jingle{Action: action, SID: cm.sid, Initiator: focus, Contents: []jingle.Content{{Creator: "initiator", Name: jingle.Video, Description: d}}}
	if _, err := cm.c.IQ(ctx, xmpp.TypeSet, focus, j.String()); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

// stage says that a source is looked at in large; "" looks at none.
func (cm *confabMember) stage(name string, height int) {
	on := []string{}
	each := map[string]any{}
	if name != "" {
		on = append(on, name)
		each[name] = map[string]int{"maxHeight": height}
	}
	cm.say(map[string]any{
		"colibriClass": "ReceiverVideoConstraints", "lastN": cm.m.lastN, "assumedBandwidthBps": -1,
		"onStageSources": on, "constraints": each, "defaultConstraints": map[string]int{"maxHeight": cm.m.height},
	})
}

func (cm *confabMember) observe(s *xmpp.Stanza) {
	if s.Kind != xmpp.IQ || s.Type != xmpp.TypeSet || !s.Has(jingle.NS, "jingle") {
		return
	}
	j, err := jingle.Parse(s.Child(jingle.NS, "jingle"))
	if err == nil && j.Action == jingle.SessionInitiate {
		select {
		case cm.offers <- j:
		default:
		}
	}
}

// accept answers the offer and waits for the media connection and the channel.
func (cm *confabMember) accept(ctx context.Context, s *swarm.Swarm) error {
	var j *jingle.Jingle
	select {
	case j = <-cm.offers:
	case <-cm.c.Done():
		return fmt.Errorf("while waiting for an offer: %w", cm.c.Err())
	case <-ctx.Done():
		return fmt.Errorf("no offer: %w", ctx.Err())
	}
	cm.sid = j.SID
	remote, f, err := cm.read(j)
	if err != nil {
		return err
	}
	leg, err := cm.m.leg(s)
	if err != nil {
		return err
	}
	cm.leg = leg
	leg.OnSecure = cm.secured
	for _, t := range cm.m.tracks {
		leg.Send(t)
	}
	leg.Start(remote, f)
	focus := cm.c.RoomJID(cm.room).WithResource("focus").String()
	if _, err := cm.c.IQ(ctx, xmpp.TypeSet, focus, cm.acceptance(j, focus).String()); err != nil {
		return fmt.Errorf("session-accept: %w", err)
	}
	if err := leg.Ready(ctx); err != nil {
		return fmt.Errorf("media of %s: %w", cm.c.Nick(), err)
	}
	select {
	case <-cm.open:
	case <-ctx.Done():
		return fmt.Errorf("bridge channel of %s: %w", cm.c.Nick(), ctx.Err())
	}
	if cm.m.entered != nil {
		cm.m.entered(time.Since(cm.began).Seconds())
	}
	return nil
}

// read takes transport and formats from an offer.
func (cm *confabMember) read(j *jingle.Jingle) (r swarm.Remote, f swarm.Formats, err error) {
	t := j.FirstTransport()
	if t == nil || len(t.Fingerprints) == 0 {
		return r, f, errors.New("an offer without transport")
	}
	r = swarm.Remote{Ufrag: t.Ufrag, Pwd: t.Pwd, Fingerprint: t.Fingerprints[0].Value, Active: t.Fingerprints[0].Setup == "active"}
	var all []netip.AddrPort
	for _, c := range t.Candidates {
		if ip, err := netip.ParseAddr(c.IP); err == nil && c.Protocol == "udp" {
			all = append(all, netip.AddrPortFrom(ip, c.Port))
		}
	}
	if r.Address = nearest(all); !r.Address.IsValid() {
		return r, f, errors.New("no UDP candidate of IPv4")
	}
	of := meettest.ReadFormats(j)
	f = swarm.Formats{FeedbackSSRC: 1, AudioLevel: of.AudioLevel, TWCC: of.TWCC, AbsSendTime: of.AbsTime}
	f.Use(of.Opus, of.VP8, of.VP8RTX)
	return r, f, nil
}

// acceptance is the answer; legs number no streams by mid.
func (cm *confabMember) acceptance(offer *jingle.Jingle, focus string) *jingle.Jingle {
	local := cm.leg.Local()
	f := meettest.ReadFormats(offer)
	f.MID = 0
	return f.Answer(offer, focus, cm.c.JID().String(), &jingle.Transport{
		Ufrag: local.Ufrag, Pwd: local.Pwd, Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "active", Value: local.Fingerprint}},
	}, cm.sources)
}

// sources are those of a medium, named as LJM names them.
func (cm *confabMember) sources(media string) (srcs []jingle.Source, groups []jingle.SSRCGroup) {
	videos := 0
	for _, t := range cm.m.tracks {
		name, typ := cm.name(t, videos)
		if t.Kind == swarm.Video {
			videos++
		}
		if (t.Kind == swarm.Audio) != (media == jingle.Audio) {
			continue
		}
		s, g := describe(t, cm.c.Nick(), name, typ)
		srcs, groups = append(srcs, s...), append(groups, g...)
	}
	return srcs, groups
}

func (cm *confabMember) name(t *swarm.Track, videos int) (name, typ string) {
	switch {
	case t.Kind == swarm.Audio:
		return cm.c.Nick() + "-a0", ""
	case videos == 0:
		return cm.c.Nick() + "-v0", jingle.Camera
	}
	return fmt.Sprintf("%s-v%d", cm.c.Nick(), videos), jingle.Desktop
}

func describe(t *swarm.Track, nick, name, typ string) (srcs []jingle.Source, groups []jingle.SSRCGroup) {
	msid := nick + "-" + name + " track-" + name
	for i, ssrc := range t.SSRCs {
		srcs = append(srcs, jingle.Source{SSRC: ssrc, Name: name, VideoType: typ, MSID: msid})
		if t.Kind == swarm.Video {
			srcs = append(srcs, jingle.Source{SSRC: t.RTX[i], Name: name, VideoType: typ, MSID: msid})
			groups = append(groups, jingle.SSRCGroup{Semantics: jingle.FID, SSRCs: []uint32{ssrc, t.RTX[i]}})
		}
	}
	if len(t.SSRCs) > 1 {
		groups = append(groups, jingle.SSRCGroup{Semantics: jingle.SIM, SSRCs: t.SSRCs})
	}
	return srcs, groups
}

// secured opens the bridge channel as LJM does (bridge.md §6.1) and keeps to what
// the bridge says on it.
func (cm *confabMember) secured(ctx context.Context, conn *dtls.Conn) {
	assoc, dc, err := meettest.DialChannel(conn)
	if err != nil {
		return
	}
	defer func() { _ = assoc.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = assoc.Close() })
	defer stop()
	cm.mu.Lock()
	cm.channel = dc
	cm.mu.Unlock()
	videos := 0
	for _, t := range cm.m.tracks {
		if t.Kind == swarm.Video {
			name, typ := cm.name(t, videos)
			videos++
			cm.say(map[string]any{"colibriClass": "SourceVideoTypeMessage", "sourceName": name, "videoType": typ})
		}
	}
	cm.constrain()
	close(cm.open)
	buf := make([]byte, 1<<16)
	for {
		n, text, err := dc.ReadDataChannel(buf)
		if err != nil {
			return
		}
		if text {
			cm.heard(buf[:n])
		}
	}
}

func (cm *confabMember) say(v any) {
	b, _ := json.Marshal(v)
	cm.mu.Lock()
	defer cm.mu.Unlock()
	if cm.channel != nil {
		_, _ = cm.channel.WriteDataChannel(b, true)
	}
}

// constrain says what is wanted.
func (cm *confabMember) constrain() {
	height, lastN := cm.m.height, cm.m.lastN
	if height == 0 {
		height = 2160
	}
	if !cm.m.watch {
		lastN = 0
	}
	cm.say(map[string]any{
		"colibriClass": "ReceiverVideoConstraints", "lastN": lastN, "assumedBandwidthBps": -1,
		"defaultConstraints": map[string]int{"maxHeight": height},
	})
}

func (cm *confabMember) heard(b []byte) {
	var msg struct {
		Class     string   `json:"colibriClass"`
		Source    string   `json:"sourceName"`
		MaxHeight int      `json:"maxHeight"`
		Forwarded []string `json:"forwardedSources"`
	}
	if json.Unmarshal(b, &msg) != nil {
		return
	}
	switch msg.Class {
	case "ForwardedSources":
		cm.leg.Withhold(cm.known.of(msg.Forwarded))
		return
	case "SenderSourceConstraints":
	default:
		return
	}
	videos := 0
	for _, t := range cm.m.tracks {
		name, _ := cm.name(t, videos)
		if t.Kind == swarm.Video {
			videos++
		}
		if name == msg.Source {
			cm.leg.Limit(t, msg.MaxHeight)
		}
	}
	cm.mu.Lock()
	defer cm.mu.Unlock()
	if cm.screen != nil && msg.Source == cm.screenName() {
		cm.leg.Limit(cm.screen, msg.MaxHeight)
	}
}
