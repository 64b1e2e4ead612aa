package focus

import (
	"log/slog"
	"testing"
	"testing/synctest"

	"confab/focus/sources"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

func idleService(t *testing.T, change func(*Config)) *Service {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Domain, cfg.Service, cfg.MUC = "meet.example", "focus.meet.example", "conference.meet.example"
	cfg.JID = xmpp.MustJID("focus@auth.meet.example/focus")
	if change != nil {
		change(&cfg)
	}
	s, err := NewService(cfg, xmpp.NewRouter(slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A request that waits in the mailbox behind the end of the conference is
// answered: LJM has no timeout for it.
func TestRequestBehindTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := idleService(t, nil)
		answers := 0
		r := request{props: &jitmeet.ConferenceRequest{}, reply: func(ready bool, err *xmpp.StanzaError) {
			if answers++; ready || err != nil {
				t.Errorf("ready %v, error %v", ready, err)
			}
		}}
		c := newConference(s, xmpp.MustJID("r@conference.meet.example"), r)
		c.post(func() { c.end("test") })
		_ = c.box.Put(event{request: &r})
		c.post(func() { t.Error("the conference goes on after its end") })
		c.run()
		if answers != 1 {
			t.Errorf("%d answers", answers)
		}
	})
}

// An answer of a bridge that finds the mailbox full would be lost, and the
// conference wait for it for ever.
func TestOverrunConferenceEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := idleService(t, func(c *Config) { c.Mailbox = 2 })
		c := newConference(s, xmpp.MustJID("r@conference.meet.example"), request{props: &jitmeet.ConferenceRequest{}})
		for range 3 {
			c.post(func() {})
		}
		c.run()
		if s.stats.overflows.Load() != 1 || c.state != stateEnded {
			t.Errorf("%d overflows, state %d", s.stats.overflows.Load(), c.state)
		}
	})
}

// A guest's request that saw a meeting which ends before it is looked up does
// not open it anew (require_host).
func TestGuestDoesNotReopen(t *testing.T) {
	t.Parallel()
	s := idleService(t, nil)
	if c := s.conference(xmpp.MustJID("r@conference.meet.example"), xmpp.JID{}, false, request{}); c != nil {
		t.Error("made")
	}
}

// Whatever the room allows: an endpoint of the name of the bridge would take the
// placeholders with it.
func TestNobodyIsTheBridge(t *testing.T) {
	t.Parallel()
	if m := (&Member{nick: sources.Bridge, features: assumed}); m.media() {
		t.Error("invited")
	}
}
