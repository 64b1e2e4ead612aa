package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"confab/cmd/confab/config"
	"confab/muc"
	"confab/xmpp"
)

// Visitors are off unless somebody wants them; then they find what is theirs and
// nothing else.
func TestVisitors(t *testing.T) {
	t.Parallel()
	types := func(text string) (all, theirs []string) {
		cfg, _, err := config.Load(written(t, text))
		if err != nil {
			t.Fatal(err)
		}
		s := &server{cfg: cfg, listen: cfg.Web.Listen, names: newNames(cfg.Domain, bridgeID, false)}
		s.features = s.roomFeatures()
		for _, id := range s.identities() {
			all = append(all, id.Type)
		}
		for _, id := range s.visitorDisco().Identities {
			theirs = append(theirs, id.Type)
		}
		return all, theirs
	}
	if all, _ := types("domain = 'meet.example'"); slices.Contains(all, "visitors") {
		t.Error(all)
	}
	all, theirs := types("domain = 'meet.example'\n[visitors]\nafter = 2")
	if !slices.Contains(all, "visitors") || !slices.Equal(theirs, []string{"im", "room_metadata", "polls", "file-sharing"}) {
		t.Error(all, theirs)
	}
}

func TestVisitorsNeedGuests(t *testing.T) {
	t.Parallel()
	const on = "\n[visitors]\nafter = 2"
	for text, ok := range map[string]bool{
		"domain = 'a.b'" + on:                                  true,
		"domain = 'a.b'\n[auth]\nguests = false" + on:          false,
		"domain = 'a.b'\n[auth]\nguests = false":               true,
		"domain = 'a.b'\n[visitors]\nafter = -1":               false,
		"domain = 'a.b'\n[visitors]\nmax = 0":                  false,
		"domain = 'a.b'\n[visitors]\nafter = 2\nqueue = 'yes'": false,
	} {
		_, _, err := config.Load(written(t, text))
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The queue is told what the app would enter.
func TestQueueRoom(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(written(t, "domain = 'meet.example'"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{cfg: cfg, names: newNames(cfg.Domain, bridgeID, false)}
	log := slog.New(slog.DiscardHandler)
	s.rooms = muc.NewService(muc.Config{Domain: s.names.conference}, xmpp.NewRouter(log), log)
	for name, want := range map[string]string{
		"StandUp@conference.meet.example": "standup@conference.meet.example",
		"r@conference.acme.meet.example":  "r@conference.acme.meet.example",
		"r@conference.v0.meet.jitsi":      "", "r@elsewhere": "", "@": "", "": "", "conference.meet.example": "",
		"r@conference.meet.example/x":                          "",
		strings.Repeat("x", 2000) + "@conference.meet.example": "",
	} {
		if got, ok := s.queueRoom(name); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", name, got, ok)
		}
	}
	if s.promised(xmpp.Attrs{Room: "r", CustomUsername: "x"}) != "" {
		t.Error("a name without visitors")
	}
}

// How many take part changes while the server runs; whether others may watch does not.
func TestVisitorsReload(t *testing.T) {
	t.Parallel()
	after := func(n int) (c config.Config) { c.Visitors.After = n; return c }
	for _, c := range []struct{ now, then, want int }{{0, 5, 0}, {5, 0, 5}, {5, 7, 7}} {
		next, taken, ignored := merge(after(c.now), after(c.then), reloadable)
		if next.Visitors.After != c.want || slices.Contains(taken, "visitors.after") != (c.want == c.then) || slices.Contains(ignored, "visitors.after") == (c.want == c.then) {
			t.Errorf("%+v: %d, taken %v, ignored %v", c, next.Visitors.After, taken, ignored)
		}
	}
}
