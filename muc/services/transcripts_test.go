package services_test

import (
	"testing"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// component is a world with a service and its component.
func component(name, domain string, mk func(*muc.Room) muc.RoomService) roomworld.Options {
	return roomworld.Options{
		Services: []func(*muc.Room) muc.RoomService{mk},
		Build: func(w *roomworld.World) {
			w.Router.Serve(domain, services.NewComponent(name, domain, w.Main, w.Router))
		},
	}
}

// with changes the main MUC of a world.
func with(o roomworld.Options, change func(*muc.Config)) roomworld.Options {
	o.Config = change
	return o
}

var everyone = policy.Everyone{On: true, Rooms: []string{"board"}}

// scripts are the transcripts and the worlds that they run in.
var scripts = map[string]roomworld.Options{
	"avmoderation": component(services.AVModerationName, "avmoderation.meet.example", services.NewAVModeration("avmoderation.meet.example")),
	"avswitch":     component(services.AVModerationName, "avmoderation.meet.example", services.NewAVModeration("avmoderation.meet.example")),
	"muted": with(component(services.AVModerationName, "avmoderation.meet.example", services.NewAVModeration("avmoderation.meet.example")), func(c *muc.Config) {
		c.Policy = func(xmpp.JID) muc.RoomPolicy { return muc.RoomPolicy{Muted: true} }
	}),
	"polls":    component(services.PollsName, "polls.meet.example", services.NewPolls(services.PollsConfig{Domain: "polls.meet.example", Max: 2})),
	"duration": component(services.DurationName, "conferenceduration.meet.example", services.NewDuration("conferenceduration.meet.example")),
	"speakerstats": {
		Services: []func(*muc.Room) muc.RoomService{services.NewSpeakerStats("speakerstats.meet.example")},
		Build: func(w *roomworld.World) {
			w.Router.Serve("speakerstats.meet.example", services.NewSpeakerStatsComponent("speakerstats.meet.example", w.Main, w.Router))
		},
	},
	"everyone": {
		Services: []func(*muc.Room) muc.RoomService{services.NewEveryone(everyone.In)},
		Policy:   func(c *policy.Config) { c.Everyone = everyone },
	},
	"external": {
		Services: []func(*muc.Room) muc.RoomService{services.NewExternal(&services.ExternalConfig{PerAddress: 100, PerRoom: 3})},
		Client: func(p xmpp.Port) muc.Client {
			c := roomworld.DefaultClient(p)
			c.Claims = map[string]*xmpp.Claims{
				"u3": {Features: map[string]bool{"recording": true, "transcription": true}},
				"u4": {
					Features: map[string]bool{"livestreaming": true, "outbound-call": true, "recording": false},
					Identity: `<identity xmlns="jabber:client"><user><id>ada</id><name>Ada</name></user><group>math</group></identity>`,
					User:     map[string]string{"id": "ada"}, Group: "math",
				},
				"u5": {Features: map[string]bool{}},
			}[p.JID().Local]
			if c.Claims != nil {
				c.Features, c.Identity = c.Claims.Features, c.Claims.Identity
			}
			return c
		},
	},
	"hidenames": with(component(services.PollsName, "polls.meet.example", services.NewPolls(services.PollsConfig{Domain: "polls.meet.example", Max: 2})), func(c *muc.Config) {
		c.Policy = func(xmpp.JID) muc.RoomPolicy { return muc.RoomPolicy{HideNames: true} }
	}),
	"messagelimit": {
		Services: []func(*muc.Room) muc.RoomService{services.NewMessageLimit(3, true)},
		Client: func(p xmpp.Port) muc.Client {
			c := roomworld.DefaultClient(p)
			if p.JID().Local == "u5" {
				c.Claims = &xmpp.Claims{}
			}
			return c
		},
	},
	"end": component(services.EndConferenceName, "endconference.meet.example", services.NewEndConference),
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	for name, world := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roomworld.Twice(t, "testdata/"+name+".xmpp", func(t *testing.T, webSocket bool) *roomworld.World {
				world := world
				world.WebSocket = webSocket
				return roomworld.New(t, world)
			})
		})
	}
}

// The stage of the join pipeline finds the service by its name.
func TestVisitorsNames(t *testing.T) {
	t.Parallel()
	if services.VisitorsName != policy.VisitorsName {
		t.Error(services.VisitorsName, policy.VisitorsName)
	}
}
