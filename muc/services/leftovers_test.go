package services_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// Somebody who says again and again that it goes to a breakout room, and comes back
// under another nick, doesn't make the list grow that all moderators get.
func TestAVModerationForgetsWhoIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := component(services.AVModerationName, "avmoderation.meet.example", services.NewAVModeration("avmoderation.meet.example"))
		o.Policy = func(c *policy.Config) { c.Everyone.On, c.JoinRate = true, 0 }
		w := roomworld.New(t, o)
		sessions := map[string]interface{ Send(string) error }{}
		for _, in := range [][2]string{{"F", "focus"}, {"1", "aaaa1111"}, {"2", "bbbb2222"}} { // the focus first
			who, nick := in[0], in[1]
			c, err := w.Dial(who)
			if err != nil {
				t.Fatal(err)
			}
			sessions[who] = c
			_ = c.Send(`<presence to="r@conference.meet.example/` + nick + `"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
			synctest.Wait()
		}
		_ = sessions["1"].Send(`<message to="avmoderation.meet.example"><av_moderation enable="true" mediaType="audio"/></message>`)
		nick := "bbbb2222"
		for i := range 200 {
			_ = sessions["2"].Send(`<presence type="unavailable" to="r@conference.meet.example/` + nick + `"><status>switch_room</status></presence>`)
			nick = fmt.Sprintf("b%07d", i)
			_ = sessions["2"].Send(`<presence to="r@conference.meet.example/` + nick + `"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
			synctest.Wait()
		}
		late, err := w.Dial("3")
		if err != nil {
			t.Fatal(err)
		}
		_ = late.Send(`<presence to="r@conference.meet.example/cccc3333"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
		for {
			got, err := late.Receive()
			if err != nil || got == "" {
				t.Fatal("no list: ", err)
			}
			if !strings.Contains(got, "whitelists") {
				continue
			}
			if n := strings.Count(got, "r@conference.meet.example/"); n > 100 || !strings.Contains(got, "aaaa1111") || !strings.Contains(got, nick) {
				t.Fatal(n, got)
			}
			return
		}
	})
}

// A lobby that breaks keeps its meeting from ending no longer.
func TestBrokenLobbyHoldsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := lobbyWorld{}.open(t)
		main := xmpp.MustJID("r@conference.meet.example")
		in := func(who, to string) interface{ Close() error } {
			c, err := w.Dial(who)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Send(`<presence to="` + to + `"><x xmlns="http://jabber.org/protocol/muc"/><nick xmlns="http://jabber.org/protocol/nick">x</nick></presence>`)
			synctest.Wait()
			return c
		}
		in("F", "r@conference.meet.example/focus")
		host := in("1", "r@conference.meet.example/aaaa1111")
		if err := w.Main.Do(context.Background(), main, func(r *muc.Room) {
			if err := services.LobbyOf(r).Open(r); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		in("2", "r@lobby.meet.example/bbbb2222")
		_ = host.Close()
		synctest.Wait()
		if err := w.Main.Do(context.Background(), main, func(r *muc.Room) {
			if len(r.Meeting()) != 2 {
				t.Error("nobody waits")
			}
			r.Meeting()[1].Destroy(xmpp.JID{}, "internal error", nil)
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := w.Main.Stats().Rooms; n != 0 {
			t.Fatal(n, "rooms left")
		}
	})
}

// Whoever waits in the lobby hears nothing of what the meeting is told.
func TestMessageLimitIsNotToldInLobby(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := lobbyWorld{Options: roomworld.Options{
			Services: []func(*muc.Room) muc.RoomService{services.NewMessageLimit(1, false)},
		}}.open(t)
		in := func(who, to string) interface {
			Send(string) error
			Receive() (string, error)
			Close() error
		} {
			c, err := w.Dial(who)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Send(`<presence to="` + to + `"><x xmlns="http://jabber.org/protocol/muc"/><nick xmlns="http://jabber.org/protocol/nick">x</nick></presence>`)
			synctest.Wait()
			return c
		}
		in("F", "r@conference.meet.example/focus")
		host := in("1", "r@conference.meet.example/aaaa1111")
		if err := w.Main.Do(context.Background(), xmpp.MustJID("r@conference.meet.example"), func(r *muc.Room) {
			if err := services.LobbyOf(r).Open(r); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		guest := in("2", "r@lobby.meet.example/bbbb2222")
		for range 2 {
			_ = host.Send(`<message type="groupchat" to="r@conference.meet.example"><body>hello</body></message>`)
		}
		synctest.Wait()
		_ = guest.Send(`<iq type="get" id="last" to="lobby.meet.example"><ping xmlns="urn:xmpp:ping"/></iq>`)
		for {
			got, err := guest.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got, "limit") {
				t.Fatal(got)
			}
			if strings.Contains(got, `id="last"`) {
				return
			}
		}
	})
}
