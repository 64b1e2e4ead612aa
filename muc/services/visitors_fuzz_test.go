package services

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzVisitorsMessage: what is taken is a JSON object of that type; what is no such
// object is left to others; nothing of what moderators are told can carry a percent
// sign.
func FuzzVisitorsMessage(f *testing.F) {
	for _, s := range []string{
		`{"type":"visitors","action":"promotion-response","approved":true,"id":"r@x/y"}`, `{"type":"visitors","ids":["a","b"]}`,
		`{"type":"visitors","id":["a"]}`, `{"type":"visitors","ids":{}}`, `{"type":"polls"}`, `{"TYPE":"visitors"}`, `[]`, `"visitors"`, `null`, ``, `{"type":"visitors","actor":"%00"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, ours := parseVisitorsMessage(text)
		if !ours {
			if m.Type != "" || m.Action != "" || m.ID != "" || m.IDs != nil || m.Actor != "" || m.Approved {
				t.Fatal(m)
			}
			return
		}
		if !json.Valid([]byte(text)) || m.Type != "" && m.Type != VisitorsName {
			t.Fatalf("%q: %+v", text, m)
		}
		b, err := json.Marshal(m)
		if err != nil || strings.Contains(jsonMessage("", b), "%") {
			t.Fatal(err, string(b))
		}
	})
}

func TestNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		n := newName()
		if len(n) != 36 || n[14] != '4' || n[19] != 'a' || strings.ToLower(n) != n || seen[n] {
			t.Fatal(n)
		}
		seen[n] = true
	}
}
