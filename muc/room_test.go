package muc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"confab/internal/meettest/roomworld"
	"confab/internal/meettest/script"
	"confab/muc"
	"confab/muc/policy"
	"confab/xmpp"
)

const join = `<x xmlns="http://jabber.org/protocol/muc"/>`

func presenceTo(room, nick, inner string) string {
	return `<presence to="` + room + `@conference.meet.example/` + nick + `">` + inner + `</presence>`
}

// enter connects a client and joins it to room r; what it gets is thrown away.
func enter(t *testing.T, w *roomworld.World, name, nick string) script.Conn {
	t.Helper()
	c, err := w.Dial(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(presenceTo("r", nick, join)); err != nil {
		t.Fatal(err)
	}
	drain(t, c)
	return c
}

func drain(t *testing.T, c script.Conn) []string {
	t.Helper()
	var out []string
	for {
		x, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if x == "" {
			return out
		}
		out = append(out, x)
	}
}

// LJM reads the first <status/> as text and the first <x/> as ours, so relayed
// elements stand around muc#user in that order.
func TestOrderOfRelayedElements(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, roomworld.Options{})
		f := enter(t, w, "F", "focus")
		c, _ := w.Dial("1")
		_ = c.Send(presenceTo("r", "aaaa1111", join+`<x xmlns="vcard-temp:x:update"/><status>brb</status><SourceInfo>{"a":"&lt;&#x201C;"}</SourceInfo>`))
		got := drain(t, f)
		if len(got) != 1 {
			t.Fatal(got)
		}
		at := -1
		for _, part := range []string{`<status>brb</status><SourceInfo>{"a":"&lt;&#x201C;"}</SourceInfo>`, `<x xmlns="http://jabber.org/protocol/muc#user">`, `<x xmlns="vcard-temp:x:update"/>`} {
			i := strings.Index(got[0], part)
			if i <= at {
				t.Fatalf("%s is missing or out of order in %s", part, got[0])
			}
			at = i
		}
	})
}

func TestJoinRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, roomworld.Options{Policy: func(c *policy.Config) { c.MaxOccupants = 0 }})
		enter(t, w, "F", "focus")
		for i := range 50 {
			enter(t, w, fmt.Sprint(i+1), fmt.Sprintf("n%d", i+1))
		}
		if st := w.Main.Stats(); st.Joins != 21 || st.Parked != 30 {
			t.Fatalf("at once: %+v", st)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if st := w.Main.Stats(); st.Joins != 41 || st.Parked != 10 {
			t.Fatalf("after a second: %+v", st)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if st := w.Main.Stats(); st.Occupants != 51 || st.Parked != 0 || st.Refused != 0 {
			t.Fatalf("after two: %+v", st)
		}
	})
}

// A full waiting list refuses those who wait for the focus with the error that
// clients retry after.
func TestParkedJoinsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, roomworld.Options{Config: func(c *muc.Config) { c.ParkedJoins = 2 }})
		f := enter(t, w, "F", "focus")
		enter(t, w, "1", "n1")
		_ = f.Close()
		enter(t, w, "2", "n2")
		enter(t, w, "3", "n3")
		c, _ := w.Dial("4")
		_ = c.Send(presenceTo("r", "n4", join))
		if got := drain(t, c); len(got) != 1 || !strings.Contains(got[0], muc.TextCreation) {
			t.Fatal(got)
		}
	})
}

func TestMaxRooms(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, roomworld.Options{Config: func(c *muc.Config) { c.MaxRooms = 1 }})
		f := enter(t, w, "F", "focus")
		_ = f.Send(presenceTo("other", "focus", join))
		if got := drain(t, f); len(got) != 1 || !strings.Contains(got[0], "resource-constraint") {
			t.Fatal(got)
		}
	})
}

// A port that closes without a word, as in-process entities may, is noticed by
// the next delivery.
func TestDeadPortIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, roomworld.Options{})
		f := enter(t, w, "F", "focus")
		c1 := enter(t, w, "1", "n1")
		c2 := enter(t, w, "2", "n2").(*roomworld.Client)
		drain(t, f)
		c2.Die()
		_ = c1.Send(`<message to="r@conference.meet.example" type="groupchat"><body>x</body></message>`)
		got := drain(t, f)
		if len(got) != 2 || !strings.Contains(got[1], `type="unavailable"`) || !strings.Contains(got[1], `code="333"`) {
			t.Fatal(got)
		}
	})
}

type exploding struct{}

func (exploding) Name() string { return "exploding" }
func (exploding) Filter(_ *muc.Room, _ *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if s.Has("", "boom") {
		panic("boom")
	}
	return s, nil
}

// A programming error ends one room, and no other notices.
func TestPanicEndsOneRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, roomworld.Options{Config: func(c *muc.Config) {
			c.Services = append(c.Services, func(*muc.Room) muc.RoomService { return exploding{} })
		}})
		f := enter(t, w, "F", "focus")
		c1 := enter(t, w, "1", "n1")
		_ = f.Send(presenceTo("other", "focus", join))
		drain(t, f)
		_ = c1.Send(`<message to="r@conference.meet.example" type="groupchat"><boom/></message>`)
		if got := drain(t, c1); len(got) != 1 || !strings.Contains(got[0], "<destroy>") {
			t.Fatal(got)
		}
		if st := w.Main.Stats(); st.Panics != 1 || st.Rooms != 1 || st.Occupants != 1 {
			t.Fatalf("%+v", st)
		}
	})
}

func TestDebug(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, roomworld.Options{})
		enter(t, w, "F", "focus")
		enter(t, w, "1", "n1")
		b, err := w.Main.Debug(t.Context(), xmpp.MustJID("r@conference.meet.example"))
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Focus     bool `json:"focus"`
			Occupants []struct {
				Nick string `json:"nick"`
			} `json:"occupants"`
		}
		if err := json.Unmarshal(b, &got); err != nil || !got.Focus || len(got.Occupants) != 2 {
			t.Fatalf("%s: %v", b, err)
		}
		if _, err := w.Main.Debug(t.Context(), xmpp.MustJID("none@conference.meet.example")); err == nil {
			t.Fatal("a room that does not exist has a state")
		}
	})
}

// Rooms end while others join them: no join is lost, no room is left, and every
// one that was refused has been told so.
func TestJoinsRaceWithTheEndOfTheRoom(t *testing.T) {
	t.Parallel()
	w := roomworld.New(t, roomworld.Options{Policy: func(c *policy.Config) { c.MaxOccupants, c.JoinRate = 0, 0 }})
	f, err := w.Dial("F")
	if err != nil {
		t.Fatal(err)
	}
	const clients, rounds = 8, 100
	var wg sync.WaitGroup
	for i := range clients {
		conn, err := w.Dial(fmt.Sprint(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		c := conn.(*roomworld.Client)
		wg.Go(func() {
			nick := fmt.Sprintf("n%d", i)
			for range rounds {
				_ = c.Send(presenceTo("r", nick, join))
				_ = c.Send(`<message to="r@conference.meet.example" type="groupchat"><body>x</body></message>`)
				_ = c.Send(`<presence type="unavailable" to="r@conference.meet.example/` + nick + `"/>`)
			}
		})
	}
	wg.Go(func() {
		for range clients * rounds {
			_ = f.Send(presenceTo("r", "focus", join))
		}
	})
	wg.Wait()
	_ = f.Send(`<presence type="unavailable" to="r@conference.meet.example/focus"/>`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if st := w.Main.Stats(); st.Rooms == 0 {
			if st.Occupants != 0 || st.Parked != 0 || st.Panics != 0 {
				t.Fatalf("%+v", st)
			}
			return
		}
		if _, err := w.Main.Debug(ctx, xmpp.MustJID("r@conference.meet.example")); err != nil {
			continue // it has just ended
		}
	}
	t.Fatalf("%+v", w.Main.Stats())
}
