package muc_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/services"
	"confab/xmpp"
)

var mainRoom = xmpp.MustJID("r@conference.meet.example")

// sideWorld has a service of side rooms at side.meet.example, whose occupants are
// in the meeting.
func sideWorld(t *testing.T, extra ...func(*muc.Room) muc.RoomService) (w *roomworld.World, side *muc.Service) {
	w = roomworld.New(t, roomworld.Options{Services: extra, Build: func(w *roomworld.World) {
		side = muc.NewService(muc.Config{Domain: "side.meet.example", Main: w.Main, Inside: true,
			Admins: []xmpp.JID{xmpp.MustJID("focus@auth.meet.example")}, Client: w.Client}, w.Router, slog.New(slog.DiscardHandler))
		w.Serve(side)
		w.Router.Serve("echo.meet.example", services.NewComponent("echo", "echo.meet.example", w.Main, w.Router))
	}})
	return w, side
}

func do(t *testing.T, w *roomworld.World, fn func(*muc.Room)) {
	t.Helper()
	if err := w.Main.Do(context.Background(), mainRoom, fn); err != nil {
		t.Fatal(err)
	}
}

func join1(t *testing.T, w *roomworld.World, name, to string) interface {
	Send(string) error
	Receive() (string, error)
	Close() error
} {
	t.Helper()
	c, err := w.Dial(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(`<presence to="` + to + `">` + join + `</presence>`); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSideRoomsBelongToTheMeeting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, side := sideWorld(t)
		enter(t, w, "F", "focus")
		c1 := enter(t, w, "1", "n1")

		// Nobody makes a side room by joining it, the focus neither.
		if got := drain(t, join1(t, w, "2", "s@side.meet.example/n2")); len(got) != 1 || !strings.Contains(got[0], muc.TextCreation) {
			t.Fatal(got)
		}
		do(t, w, func(r *muc.Room) {
			if _, err := r.Open(w.Main, "s"); err == nil {
				t.Error("a room of the main service is no side room")
			}
			s, err := r.Open(side, "s")
			if err != nil || s.Main() != r || len(r.Meeting()) != 2 {
				t.Errorf("%v %v", s, err)
			}
			if _, err := r.Open(side, "s"); err == nil {
				t.Error("opened twice")
			}
			r.Affiliate(xmpp.MustJID("u3@meet.example"), muc.AffOwner, nil, "")
		})
		c3 := join1(t, w, "3", "s@side.meet.example/n3")
		got := strings.Join(drain(t, c3), "\n")
		if !strings.Contains(got, `affiliation="owner" role="moderator"`) {
			t.Fatal("standing is the meeting's:", got)
		}
		do(t, w, func(r *muc.Room) {
			in, seat := r.Find(xmpp.MustJID("u3@meet.example/r3"))
			if seat == nil || in == r || seat.Occ().Nick != "n3" {
				t.Error("not found in the side room")
			}
			r.Affiliate(xmpp.MustJID("u3@meet.example"), muc.AffMember, r.Occupant("n1"), "")
		})
		if got := drain(t, c3); len(got) != 1 || !strings.Contains(got[0], `role="participant"`) || !strings.Contains(got[0], `<actor nick="n1"`) {
			t.Fatal(got)
		}
		// The end of the main room is the end of all.
		drain(t, c1)
		do(t, w, func(r *muc.Room) { r.Destroy(xmpp.JID{}, "enough", nil) })
		for _, got := range [][]string{drain(t, c1), drain(t, c3)} {
			if len(got) != 1 || !strings.Contains(got[0], "<destroy><reason>enough</reason>") {
				t.Fatal(got)
			}
		}
		if side.Stats().Rooms != 0 || w.Main.Stats().Rooms != 0 {
			t.Fatal("rooms left")
		}
	})
}

// recorder is a service that takes commands and notes what happens.
type recorder struct{ log *[]string }

func (recorder) Name() string { return "echo" }
func (n recorder) Command(r *muc.Room, o *muc.Occupant, _ *xmpp.Stanza) error {
	*n.log = append(*n.log, "command "+o.Nick+" in "+r.JID().Domain)
	return nil
}
func (n recorder) Left(_ *muc.Room, o *muc.Occupant, why muc.Departure) {
	if why.Kicked {
		*n.log = append(*n.log, o.Nick+" kicked by "+why.Actor.Nick)
	}
}
func (n recorder) Ranked(_ *muc.Room, o *muc.Occupant, old muc.Role, _ *muc.Occupant) {
	*n.log = append(*n.log, o.Nick+" was "+old.String())
}

func TestCommandsComeFromTheWholeMeeting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log []string
		w, side := sideWorld(t, func(*muc.Room) muc.RoomService { return recorder{&log} })
		enter(t, w, "F", "focus")
		c1 := enter(t, w, "1", "n1")
		do(t, w, func(r *muc.Room) {
			_, _ = r.Open(side, "s")
			r.Affiliate(xmpp.MustJID("u1@meet.example"), muc.AffOwner, nil, "")
		})
		p := join1(t, w, "P1", "s@side.meet.example/n2")
		stranger, _ := w.Dial("3") // its URL names the room
		drain(t, p)
		const cmd = `<message to="echo.meet.example"><x xmlns="y"/></message>`
		for _, c := range []interface{ Send(string) error }{c1, p, stranger} {
			_ = c.Send(cmd)
		}
		if got := drain(t, stranger); len(got) != 1 || !strings.Contains(got[0], "<forbidden") {
			t.Fatal(got)
		}
		_ = c1.Send(`<iq type="set" id="k" to="r@conference.meet.example"><query xmlns="http://jabber.org/protocol/muc#admin"><item nick="n1" role="none"/></query></iq>`)
		drain(t, c1)
		want := "n1 was participant|command n1 in conference.meet.example|command n2 in side.meet.example|n1 kicked by n1"
		if got := strings.Join(log, "|"); got != want {
			t.Fatalf("%s\nwant %s", got, want)
		}
	})
}

// secret lets people see moderators only, and moderators people without a name.
type secret struct{}

func (secret) Name() string { return "secret" }
func (secret) Sees(_ *muc.Room, _, of *muc.Occupant, _ xmpp.Kind) muc.View {
	switch {
	case of.Admin():
		return muc.ViewFull
	case of.Nick == "hidden":
		return muc.ViewNone
	}
	return muc.ViewNameless
}

func TestAudience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := sideWorld(t, func(*muc.Room) muc.RoomService { return secret{} })
		enter(t, w, "F", "focus")
		named := enter(t, w, "1", "n1")
		_ = named.Send(`<presence to="r@conference.meet.example/n1"><nick xmlns="http://jabber.org/protocol/nick">Ada L.</nick><email>a@x</email><k xmlns="z"/></presence>`)
		if got := strings.Join(drain(t, named), ""); !strings.Contains(got, "Ada L.") {
			t.Fatal("own presence:", got)
		}
		hidden := enter(t, w, "2", "hidden")
		other := join1(t, w, "3", "r@conference.meet.example/n3")
		got := strings.Join(drain(t, other), "")
		if strings.Contains(got, "Ada L.") || strings.Contains(got, "a@x") || !strings.Contains(got, `<k xmlns="z"/>`) || strings.Contains(got, "hidden") {
			t.Fatal(got)
		}
		_ = hidden.Send(`<message to="r@conference.meet.example" type="groupchat"><body>boo</body></message>`)
		_ = hidden.Send(`<presence to="r@conference.meet.example/hidden" type="unavailable"/>`)
		if got := drain(t, other); len(got) != 0 {
			t.Fatal(got)
		}
	})
}

func TestHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := sideWorld(t)
		enter(t, w, "F", "focus")
		c1 := enter(t, w, "1", "n1")
		do(t, w, func(r *muc.Room) { r.Hold("test") })
		_ = c1.Close()
		synctest.Wait()
		if w.Main.Stats().Rooms != 1 {
			t.Fatal("a held room went")
		}
		do(t, w, func(r *muc.Room) { r.Unhold("test") })
		synctest.Wait()
		if err := w.Main.Do(context.Background(), mainRoom, func(*muc.Room) {}); err == nil || w.Main.Stats().Rooms != 0 {
			t.Fatal("a room that nobody holds stayed")
		}
		var se *xmpp.StanzaError
		if err := w.Main.Do(context.Background(), mainRoom, func(*muc.Room) {}); !errors.As(err, &se) || se.Cond != xmpp.CondItemNotFound {
			t.Fatal(err)
		}
	})
}

func TestDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := sideWorld(t)
		condition := func(err error) string {
			se, _ := errors.AsType[*xmpp.StanzaError](err)
			if se == nil {
				return ""
			}
			return se.Cond
		}
		f, c1 := enter(t, w, "F", "focus"), enter(t, w, "1", "n1")
		// A mistake in fn ends the room, and nobody waits for it.
		err := w.Main.Do(context.Background(), mainRoom, func(*muc.Room) { panic("oops") })
		if condition(err) != xmpp.CondInternalServerError || w.Main.Stats().Panics != 1 {
			t.Fatal(err)
		}
		if err := w.Main.Do(context.Background(), mainRoom, func(*muc.Room) { t.Error("ran") }); condition(err) != xmpp.CondItemNotFound {
			t.Fatal(err)
		}
		// Of two that wait for a room that ends, the one behind who opens it anew finds
		// that room, the other one none.
		_ = f.Send(`<presence to="r@conference.meet.example/focus">` + join + `</presence>`)
		_ = c1.Send(`<presence to="r@conference.meet.example/n1">` + join + `</presence>`)
		synctest.Wait()
		go1, before, behind := make(chan bool), make(chan error, 1), make(chan error, 1)
		var old *muc.Room
		go func() {
			_ = w.Main.Do(context.Background(), mainRoom, func(r *muc.Room) {
				old = r
				<-go1
				r.Destroy(xmpp.JID{}, "enough", nil)
			})
		}()
		synctest.Wait()
		go func() {
			before <- w.Main.Do(context.Background(), mainRoom, func(r *muc.Room) {
				if r == old {
					t.Error("ran in a room that has ended")
				}
			})
		}()
		synctest.Wait()
		_ = f.Send(`<presence to="r@conference.meet.example/focus">` + join + `</presence>`)
		synctest.Wait()
		go func() {
			behind <- w.Main.Do(context.Background(), mainRoom, func(r *muc.Room) {
				if r == old || r.Occupant("focus") == nil {
					t.Error("not in the new room")
				}
			})
		}()
		synctest.Wait()
		close(go1)
		if err := <-behind; err != nil {
			t.Error(err)
		}
		if err := <-before; err != nil && condition(err) != xmpp.CondItemNotFound {
			t.Error(err)
		}
	})
}

func TestTenants(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, roomworld.Options{})
		if got := drain(t, join1(t, w, "F", "r@conference.acme.meet.example/focus")); len(got) == 0 || !strings.Contains(got[len(got)-1], "<subject/>") {
			t.Fatal(got)
		}
		for domain, want := range map[string]string{
			"conference.acme.meet.example": "acme", "conference.meet.example": "", "conference.a.b.meet.example": "a.b", "metadata.meet.example": "",
		} {
			if got := w.Main.TenantOf(xmpp.JID{Local: "r", Domain: domain}); got != want {
				t.Errorf("%s: %q", domain, got)
			}
		}
		// The same name in two tenants is two rooms; more than one label is none.
		one := join1(t, w, "1", "r@conference.meet.example/n1")
		if got := drain(t, one); len(got) != 1 || !strings.Contains(got[0], muc.TextCreation) {
			t.Fatal(got)
		}
		two := join1(t, w, "2", "r@conference.a.b.meet.example/n1")
		if got := drain(t, two); len(got) != 1 || !strings.Contains(got[0], "remote-server-not-found") {
			t.Fatal(got)
		}
		if got := drain(t, join1(t, w, "3", "r@conference.acme.meet.example/n3")); !strings.Contains(strings.Join(got, ""), `from="r@conference.acme.meet.example/n3"`) {
			t.Fatal(got)
		}
	})
}
