package muc_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/xmpp"
)

// A booking is looked up after a plain client's join has asked for the focus: what it
// says holds for that client, too.
func TestSettledWhileJoinsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var booked atomic.Bool
		w := roomworld.New(t, roomworld.Options{Config: func(c *muc.Config) {
			c.Policy = func(xmpp.JID) muc.RoomPolicy {
				if booked.Load() {
					return muc.RoomPolicy{Password: "pw"}
				}
				return muc.RoomPolicy{}
			}
		}})
		if _, err := w.Dial("FC"); err != nil {
			t.Fatal(err)
		}
		p := enter(t, w, "P1", "Pat")
		var live bool
		if err := w.Main.Do(t.Context(), xmpp.MustJID("r@conference.meet.example"), func(r *muc.Room) { live = r.Live() }); err != nil || live {
			t.Errorf("before the focus: live %v, %v", live, err)
		}
		booked.Store(true)
		enter(t, w, "F", "focus")
		got := strings.Join(drain(t, p), "")
		if !strings.Contains(got, "not-authorized") {
			t.Errorf("the client that waited got %s", got)
		}
	})
}
