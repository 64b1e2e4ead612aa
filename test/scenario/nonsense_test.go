package scenario

import (
	"strings"
	"testing"

	"confab/internal/meettest"
	"confab/xmpp"
)

// nonsense is what no client sends to a component, or not from there.
func nonsense(room string) (out []string) {
	for _, text := range []string{
		"", "{", "null", "[]", `{"type":"polls"}`, `{"type":"polls","command":"old-polls","polls":[]}`, `{"key":"services","data":[]}`,
		`{"key":"x","data":null}`, `{"key":"startMuted","data":{"audio":true}}`, `{"fileId":"` + strings.Repeat("f", 5000) + `"}`, `{"fileId":{}}`,
		`{"type":"visitors","action":"demote-request","id":"x"}`, `{"type":"breakout_rooms","event":"features/breakout-rooms/update","rooms":{}}`,
		`{"type":"av_moderation","enabled":true,"mediaType":"audio"}`, strings.Repeat("[", 3000) + strings.Repeat("]", 3000),
	} {
		for _, el := range []string{"json-message", "room_metadata", "file-sharing", "av_moderation", "breakout_rooms", "end_conference", "visitors"} {
			out = append(out, `<`+el+` xmlns="http://jitsi.org/jitmeet" room="`+room+`">`+text+`</`+el+`>`, `<`+el+`>`+text+`</`+el+`>`)
		}
	}
	for _, attr := range []string{
		`enable="true" mediaType="audio"`, `jidToWhitelist="` + room + `/x" mediaType="audio"`, `enable="true" mediaType="x"`,
		`type="features/breakout-rooms/add" subject="mine"`, `type="features/breakout-rooms/remove" breakoutRoomJid="` + room + `"`,
		`type="features/breakout-rooms/move-to-room" participantJid="x@y/z" roomJid="` + room + `"`, `type="features/breakout-rooms/x"`,
		`type="add"`, `type="remove" fileId="x"`, `type="remove"`, `room="@" silence="x"`, `room="nowhere@` + room + `"`,
	} {
		for _, el := range []string{"av_moderation", "breakout_rooms", "file-sharing", "speakerstats", "end_conference", "faceLandmarks", "visitors"} {
			out = append(out, `<`+el+` `+attr+`/>`, `<`+el+` xmlns="http://jitsi.org/jitmeet" `+attr+`/>`)
		}
	}
	return append(out, "", "<body>x</body>", strings.Repeat("<a>", 50)+strings.Repeat("</a>", 50))
}

// A participant writes nonsense to every component that it is told of: the others
// hear nothing of it, and their meeting goes on.
func TestNonsenseToEveryComponent(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", silent), w.join("Bea", silent)
	w.must(a.Until(w.ctx, "to be moderator", a.Moderator))
	c := w.join("Mal", silent)
	ours := func(s *xmpp.Stanza) bool { return s.Kind == xmpp.Message && s.From.Local == "" }
	forget := func(x *meettest.Client) {
		for {
			if _, err := x.Expect(cancelled(), "nothing", ours); err != nil {
				return
			}
		}
	}
	w.must(c.Chat("before"))
	for _, x := range []*meettest.Client{a, b} {
		_, err := x.ExpectChat(w.ctx, "before")
		w.must(err)
		forget(x)
	}
	components := 0
	for _, typ := range []string{
		"room_metadata", "av_moderation", "breakout_rooms", "polls", "speakerstats", "conference_duration", "end_conference",
		"file-sharing", "lobbyrooms", "visitors",
	} {
		to := c.Component(typ)
		if to == "" {
			continue
		}
		components++
		for _, inner := range nonsense(c.RoomJID(w.room).String()) {
			w.must(c.Send(xmpp.Message, "", "", to, inner))
		}
	}
	if components < 8 {
		t.Errorf("only %d components are announced", components)
	}
	w.must(c.Chat("after"))
	for _, x := range []*meettest.Client{a, b} {
		_, err := x.ExpectChat(w.ctx, "after")
		w.must(err)
		if s, err := x.Expect(cancelled(), "nothing", ours); err == nil {
			t.Errorf("%s got %s", x.Nick(), s)
		}
		if x.Gone() {
			t.Errorf("%s is out", x.Nick())
		}
	}
}
