package main

import (
	"reflect"
	"slices"
	"testing"

	"confab/cmd/confab/config"
	"confab/muc/services"
)

// Every switch takes its own feature away and nothing else: service, address and
// identity.
func TestSwitches(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(written(t, "domain = 'meet.example'"))
	if err != nil {
		t.Fatal(err)
	}
	names := func(cfg config.Config) (out []string) {
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
		config.ValueOf(&off, key).Set(reflect.ValueOf(false))
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

// A running server takes switches over: for rooms that begin then, and for who logs in.
func TestSwitchesOfARunningServer(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(written(t, "domain = 'meet.example'"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{cfg: cfg, listen: cfg.Web.Listen, names: newNames(cfg.Domain, bridgeID, false)}
	s.features = s.roomFeatures()
	on := func(name string) (announced, made bool) {
		for _, id := range s.identities() {
			announced = announced || id.Type == name
		}
		for _, f := range s.features {
			made = made || f.name == name && f.main(nil) != nil
		}
		return announced, made
	}
	for _, want := range []bool{true, false, true} {
		next := cfg
		next.Rooms.Polls, next.Rooms.AVModeration, next.Rooms.EndForAll = want, want, want
		next.Rooms.MessagesMax = map[bool]int{true: 10}[want]
		s.reloaded.Store(&next)
		for _, name := range []string{services.PollsName, services.AVModerationName, services.EndConferenceName} {
			if announced, made := on(name); announced != want || made != want {
				t.Errorf("%s: announced %v, made %v, wanted %v", name, announced, made, want)
			}
		}
		if _, made := on(services.MessageLimitName); made != want {
			t.Errorf("limit of messages: made %v, wanted %v", made, want)
		}
	}
}
