package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"confab/internal/meettest"
	"confab/xmpp"
)

// chat sends messages to a room of many and reports what each delivery cost the
// server.
func chat(ctx context.Context, args []string) error {
	var t target
	fs := t.flags("chat")
	people := fs.Int("people", 70, "occupants of the room; the server admits 75 by default")
	messages := fs.Int("messages", 200, "messages sent by one of them")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *people < 2 {
		return errors.New("chat needs two people")
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	room := roomName("chat", 0)
	var all []*meettest.Client
	defer func() {
		for _, c := range all {
			c.Kill()
		}
	}()
	for range *people {
		c, err := meettest.Dial(ctx, meettest.Options{URL: t.url, Domain: t.domain, Silent: true})
		if err != nil {
			return err
		}
		all = append(all, c)
		if err := c.Join(ctx, room); err != nil {
			return err
		}
	}
	last := all[len(all)-1]
	before, err := cpuSeconds(t.pid)
	if err != nil {
		return err
	}
	started := time.Now()
	for i := range *messages {
		body := "message " + strings.Repeat("x", i%10)
		if err := all[0].Send(xmpp.Message, xmpp.TypeGroupchat, "", all[0].RoomJID(room).String(), "<body>"+body+"</body>"); err != nil {
			return err
		}
	}
	if err := all[0].Send(xmpp.Message, xmpp.TypeGroupchat, "", all[0].RoomJID(room).String(), "<body>the end</body>"); err != nil {
		return err
	}
	if _, err := last.Expect(ctx, "the last message", func(s *xmpp.Stanza) bool {
		return s.Kind == xmpp.Message && strings.Contains(s.Inner, "the end")
	}); err != nil {
		return err
	}
	took := time.Since(started)
	after, err := cpuSeconds(t.pid)
	if err != nil {
		return err
	}
	deliveries := float64(*messages+1) * float64(*people)
	return t.report([]figure{
		{"occupants", *people}, {"messages", *messages + 1}, {"deliveries", deliveries}, {"seconds", took.Seconds()},
		{"CPU microseconds per delivery", (after - before) / deliveries * 1e6},
	})
}
