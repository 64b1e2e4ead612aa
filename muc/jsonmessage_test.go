package muc

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMessageType(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"type":"lobby-notify"}`:                      "lobby-notify",
		`{"type":"x","type":"lobby-notify"}`:           "lobby-notify", // JSON.parse: the last
		`{"type":"lobby-notify","Type":"x"}`:           "lobby-notify", // keys differ by case
		`{"Type":"lobby-notify"}`:                      "",
		`{"type":"lobby\u002dnotify"}`:                 "lobby-notify",
		`{"type":["lobby-notify"]}`:                    "",
		`["lobby-notify"]`:                             "",
		`{"type":`:                                     "",
		unescape(`%7B"type":"%6cobby%u002Dnotify"%7d`): "lobby-notify",
	} {
		if got := messageType(text); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
	for in, want := range map[string]string{`%u00`: `%u00`, `%`: `%`, `%%41`: `%A`, `%zz`: `%zz`, `a%20b`: "a b", `%u0041%+1`: `A%+1`} {
		if got := unescape(in); got != want {
			t.Errorf("%s: %q", in, got)
		}
	}
}

// FuzzMessageType: what names the lobby's messages in any spelling that JavaScript
// reads is found; nothing panics.
func FuzzMessageType(f *testing.F) {
	for _, s := range []string{`{"type":"lobby-notify"}`, `%7B%22type%22:%22lobby-notify%22}`, `{"type":"a","type":1}`, `%u`, "\xff%41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		plain := unescape(text)
		if !strings.Contains(text, "%") && plain != text {
			t.Fatalf("%q became %q", text, plain)
		}
		var loose map[string]any
		if json.Unmarshal([]byte(plain), &loose) == nil && loose["type"] == "lobby-notify" && messageType(plain) != "lobby-notify" {
			t.Fatalf("%q not found", plain)
		}
	})
}
