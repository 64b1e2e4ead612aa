package muc_test

import (
	"os"
	"strings"
	"testing"

	"confab/internal/meettest/roomworld"
	"confab/internal/meettest/script"
	"confab/muc"
	"confab/muc/policy"
	"confab/xmpp"
)

// own are what the room adds to what clients send, by namespace.
var own = map[string]bool{muc.NSUser: true, muc.NSOccupantID: true, "urn:xmpp:sid:0": true}

// What clients tell each other arrives as it was sent, in its order, whatever it is:
// the room knows little of it.
func TestRelayedUnchanged(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/relayed.txt")
	if err != nil {
		t.Fatal(err)
	}
	roomworld.Both(t, func(t *testing.T, webSocket bool) {
		w := roomworld.New(t, roomworld.Options{WebSocket: webSocket, Policy: func(c *policy.Config) { c.JoinRate = 0 }})
		enter(t, w, "F", "focus")
		from, to := enter(t, w, "1", "aaaa1111"), enter(t, w, "2", "bbbb2222")
		drain(t, from)
		n := 0
		for line := range strings.Lines(string(text)) {
			kind, inner, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok || kind == "#" {
				continue
			}
			n++
			switch kind {
			case "presence":
				_ = from.Send(presenceTo("r", "aaaa1111", inner))
			case "chat":
				_ = from.Send(`<message type="chat" to="r@conference.meet.example/bbbb2222">` + inner + `</message>`)
			case "groupchat":
				_ = from.Send(`<message type="groupchat" to="r@conference.meet.example">` + inner + `</message>`)
			default:
				t.Fatal(line)
			}
			sent := `<message xmlns="jabber:client">` + inner + `</message>`
			want := children(t, strings.ReplaceAll(sent, `<reply to`, `<reply xmlns="urn:xmpp:reply:0" to`))
			if got := drain(t, to); len(got) != 1 || children(t, got[0]) != want {
				t.Errorf("%s\ngot  %s\nwant %s", inner, got, want)
			}
			if kind != "presence" {
				continue
			}
			// Who joins now sees it as it is.
			late := late(t, w)
			found := false
			for _, got := range drain(t, late) {
				found = found || strings.Contains(got, `from="r@conference.meet.example/aaaa1111"`) && children(t, got) == want
			}
			if !found {
				t.Errorf("a joiner does not see %s", inner)
			}
			_ = late.Close()
			drain(t, to)
		}
		if n < 30 {
			t.Error(n)
		}
	})
}

func late(t *testing.T, w *roomworld.World) script.Conn {
	t.Helper()
	c, err := w.Dial("3")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(presenceTo("r", "cccc3333", join)); err != nil {
		t.Fatal(err)
	}
	return c
}

// children are those of a stanza, without what the room adds, encoded in one way.
func children(t *testing.T, stanza string) string {
	t.Helper()
	el, err := xmpp.ParseElement(stanza, xmpp.Limits{}, xmpp.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, k := range el.Kids {
		if !own[k.NS] {
			out = append(out, k.String())
		}
	}
	return strings.Join(out, "\n")
}
