package main

import (
	"reflect"
	"slices"
	"testing"
)

// Every switch takes its own feature away and nothing else: service, address and
// identity.
func TestSwitches(t *testing.T) {
	t.Parallel()
	cfg, _, err := load(write(t, "domain = 'meet.example'"))
	if err != nil {
		t.Fatal(err)
	}
	names := func(cfg Config) (out []string) {
		s := &server{cfg: cfg, listen: cfg.Web.Listen, names: newNames(cfg.Domain, bridgeID, false)}
		s.features = s.roomFeatures()
		for _, id := range s.identities() {
			out = append(out, id.Type)
		}
		return out
	}
	all := names(cfg)
	for key, want := range map[string]string{
		"rooms.end_for_all":   "end_conference",
		"rooms.breakout":      "breakout_rooms",
		"rooms.polls":         "polls",
		"rooms.av_moderation": "av_moderation",
		"rooms.lobby":         "lobbyrooms",
	} {
		off := cfg
		valueOf(&off, key).Set(reflect.ValueOf(false))
		left := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == want })
		if got := names(off); !slices.Equal(got, left) || len(left) != len(all)-1 {
			t.Errorf("%s = false leaves %v of %v", key, got, all)
		}
	}
	for _, always := range []string{"room_metadata", "speakerstats", "conference_duration"} {
		if !slices.Contains(all, always) {
			t.Error(always, "is not in", all)
		}
	}
}
