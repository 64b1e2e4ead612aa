package services_test

import (
	"log/slog"
	"testing"
	"testing/synctest"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// breakoutWorld is a world with breakout rooms at breakout.meet.example.
func breakoutWorld(change func(*roomworld.Options, *services.BreakoutConfig)) roomworld.Options {
	cfg := services.BreakoutConfig{Domain: "breakout.meet.example"}
	opt := roomworld.Options{}
	if change != nil {
		change(&opt, &cfg)
	}
	f := services.NewBreakouts(cfg)
	opt.Services = append(opt.Services, f.InMain)
	opt.Build = func(w *roomworld.World) {
		focus := xmpp.MustJID("focus@auth.meet.example")
		meta := services.MetadataConfig{Domain: "metadata.meet.example"}
		client := roomworld.DefaultClient
		if opt.Client != nil {
			client = opt.Client
		}
		mc := muc.DefaultConfig()
		mc.Domain, mc.Main, mc.Inside, mc.EndWithPeople = cfg.Domain, w.Main, true, false
		mc.Admins, mc.Focus, mc.FocusService = []xmpp.JID{focus}, focus, xmpp.MustJID("focus.meet.example")
		mc.ServiceDomains = []string{"auth.meet.example", "recorder.meet.example"}
		mc.Client = client
		mc.Stages = policy.Breakout(policy.DefaultConfig())
		mc.Services = []func(*muc.Room) muc.RoomService{services.NewMetadata(meta), f.InBreakout}
		sv := muc.NewService(mc, w.Router, slog.New(slog.DiscardHandler))
		w.Serve(sv)
		w.Router.Serve(cfg.Domain, f.Serve(sv, w.Main, w.Router))
	}
	return opt
}

func TestBreakoutTranscripts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*roomworld.Options, *services.BreakoutConfig){
		"breakout": nil,
		"breakoutfull": func(o *roomworld.Options, _ *services.BreakoutConfig) {
			o.Policy = func(c *policy.Config) { c.MaxOccupants = 2 }
		},
		"breakoutend":    nil,
		"breakoutkick":   nil,
		"breakoutplain":  nil,
		"breakoutreturn": nil,
		"breakoutmax":    func(_ *roomworld.Options, c *services.BreakoutConfig) { c.Max = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				roomworld.New(t, breakoutWorld(change)).Run(t, "testdata/"+name+".xmpp")
			})
		})
	}
}
