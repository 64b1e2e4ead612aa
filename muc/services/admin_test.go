package services_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/services"
	"confab/xmpp"
)

// What hosts change from outside: all of it or nothing, and who watches a key is told.
func TestMetadataFromOutside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var watched []string
		w := roomworld.New(t, roomworld.Options{Config: func(c *muc.Config) {
			c.Services = []func(*muc.Room) muc.RoomService{services.NewMetadata(services.MetadataConfig{
				Domain: "metadata.meet.example", Max: 100, Flags: map[string]any{"visitorsEnabled": false},
				Watch: map[string]func(*muc.Room, json.RawMessage){"b": func(_ *muc.Room, data json.RawMessage) { watched = append(watched, string(data)) }},
			})}
		}})
		f, _ := w.Dial("F")
		_ = f.Send(`<presence to="r@conference.meet.example/focus"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
		c, _ := w.Dial("1")
		_ = c.Send(`<presence to="r@conference.meet.example/aaaa1111"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
		told := func() (out string) {
			for {
				x, err := c.Receive()
				if err != nil {
					t.Fatal(err)
				}
				if x == "" {
					return out
				}
				out += strings.ReplaceAll(x, "&quot;", `"`)
			}
		}
		told()
		change := func(text string) (err error) {
			var m map[string]json.RawMessage
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				t.Fatal(err)
			}
			if e := w.Main.Do(t.Context(), xmpp.MustJID("r@conference.meet.example"), func(r *muc.Room) {
				err = services.MetadataOf(r).Change(r, m)
			}); e != nil {
				t.Fatal(e)
			}
			return err
		}
		object := func() string {
			var b []byte
			_ = w.Main.Do(t.Context(), xmpp.MustJID("r@conference.meet.example"), func(r *muc.Room) {
				b, _ = json.Marshal(services.MetadataOf(r).Object())
			})
			return string(b)
		}
		const start = `{"visitorsEnabled":false}`
		for _, bad := range []string{
			`{"a":1,"lobbyEnabled":true}`, `{"a":1,"visitorsEnabled":null}`, `{"a":1,"services":[]}`, `{"a":"` + strings.Repeat("x", 100) + `"}`,
			`{"a":1,"b":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`,
		} {
			if err := change(bad); err == nil || object() != start || told() != "" {
				t.Errorf("%.40s: %v, %s", bad, err, object())
			}
		}
		if err := change(`{"a": 1, "b": { "c": 2 }, "gone": null}`); err != nil {
			t.Fatal(err)
		}
		if got := told(); strings.Count(got, "<message") != 1 || !strings.Contains(got, `"a":1,"b":{"c":2},"visitorsEnabled":false`) {
			t.Errorf("told %s", got)
		}
		if err := change(`{"a":1}`); err != nil || told() != "" {
			t.Errorf("told of nothing new: %v", err)
		}
		if err := change(`{"a":null,"b":null}`); err != nil || object() != start {
			t.Errorf("%v, %s", err, object())
		}
		if got := told(); !strings.Contains(got, `"metadata":{"visitorsEnabled":false}`) {
			t.Errorf("told %s", got)
		}
		// What was removed gives its room back.
		if err := change(`{"z":"` + strings.Repeat("x", 60) + `"}`); err != nil {
			t.Error(err)
		}
		if got := strings.Join(watched, " "); got != `{"c":2} ` {
			t.Errorf("watched %q", got)
		}
	})
}
