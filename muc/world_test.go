package muc_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/policy"
	"confab/xmpp"
)

// scripts are the transcripts and the worlds that they run in.
var scripts = map[string]roomworld.Options{
	"join":     {ICE: true},
	"metadata": {ICE: true},
	"capacity": {Policy: func(c *policy.Config) { c.MaxOccupants = 2 }},
	"linger":   {Config: func(c *muc.Config) { c.Linger = 20 * time.Second }},
	"everyone": {Policy: func(c *policy.Config) { c.Everyone.On = true }},
	"settled": {
		Policy: func(c *policy.Config) { c.MaxOccupants = 0 },
		Config: func(c *muc.Config) {
			c.Policy = func(room xmpp.JID) muc.RoomPolicy {
				if room.Local != "r" {
					return muc.RoomPolicy{}
				}
				return muc.RoomPolicy{Subject: "Plans", Password: "pw", MaxOccupants: 2, Moderators: []string{"u2@meet.example"}, Members: []string{"u3@meet.example"}}
			}
		},
	},
	"presence": {Config: func(c *muc.Config) { c.PresenceBytes = 700 }},

	"token":       tokenWorld(func(r *policy.TokenRules) { r.Moderators, r.ModeratorIssuers = true, []string{"app"} }),
	"tokenempty":  tokenWorld(func(r *policy.TokenRules) { r.AllowEmpty = true }),
	"permissions": tokenWorld(func(r *policy.TokenRules) { r.Moderators, r.AllowEmpty = true, true }),
	"noguests": {Client: tokenClient, Config: func(c *muc.Config) {
		c.Policy = func(xmpp.JID) muc.RoomPolicy { return muc.RoomPolicy{NoGuests: true} }
	}},
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.xmpp")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".xmpp")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roomworld.Twice(t, f, func(t *testing.T, webSocket bool) *roomworld.World {
				world := scripts[name]
				world.WebSocket = webSocket
				return roomworld.New(t, world)
			})
		})
	}
}
