package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"confab/muc"
)

// The order is the contract of room-services.md §3.
func TestOrder(t *testing.T) {
	t.Parallel()
	names := func(stages []muc.Stage) (out []string) {
		for _, s := range stages {
			out = append(out, s.Name())
		}
		return out
	}
	if got, want := names(Main(DefaultConfig())()), []string{"token", "nick", "breakouts", "flip", "maxoccupants", "rate", "healthcheck", "focusfirst", "visitors", "waitforhost", "settled", "lobby", "displayname", "members", "banned", "password", "moderators", "tokenaffiliation"}; !slices.Equal(got, want) {
		t.Errorf("main: %v", got)
	}
	if got, want := names(Breakout(DefaultConfig())()), []string{"nick", "rate", "breakouts", "focusfirst", "banned", "password"}; !slices.Equal(got, want) {
		t.Errorf("breakout: %v", got)
	}
	if got, want := names(Breweries(nil)()), []string{"nick", "account", "members", "banned", "password"}; !slices.Equal(got, want) {
		t.Errorf("breweries: %v", got)
	}
}

func TestNicks(t *testing.T) {
	t.Parallel()
	for nick, want := range map[string]bool{
		"3fa9c1d2": true, "Pat": true, "a_b": true, "": false, "_a": false, "a b": false, "a-b": false, "é": false, "a/b": false,
	} {
		if conforms(nick) != want {
			t.Errorf("conforms(%q) = %v", nick, !want)
		}
	}
	for nick, want := range map[string]string{
		"Pat O'Hara": "Pat_O_Hara", "Ünal": "nal", "日本": "guest", "-focus-": "guest", "jvb!": "guest", "!!": "guest",
		strings.Repeat("a", 80): strings.Repeat("a", 32),
	} {
		if got := conforming(nick); got != want || !conforms(got) {
			t.Errorf("conforming(%q) = %q", nick, got)
		}
	}
	for nick, want := range map[string]bool{"a": true, " ": false, "\u00a0\u2003": false, "\u200b": false, "日本": true} {
		if visible(nick) != want {
			t.Errorf("visible(%q) = %v", nick, !want)
		}
	}
}

func TestTokensRefill(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	l := NewRateLimit(4, func() time.Time { return now })
	l.tokens = 0
	now = now.Add(500 * time.Millisecond)
	if l.refill(); l.tokens != 2 {
		t.Fatal(l.tokens)
	}
	now = now.Add(time.Hour)
	if l.refill(); l.tokens != 4 {
		t.Fatal(l.tokens)
	}
}
