package presets

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"confab/muc"
	"confab/xmpp"
)

// disk keeps its text in memory.
type disk struct {
	text string
	err  error
}

func (d *disk) Load(context.Context) (string, error) { return d.text, d.err }

func (d *disk) Save(_ context.Context, text string) error {
	if d.err == nil {
		d.text = text
	}
	return d.err
}

func room(name string) xmpp.JID { return xmpp.MustJID(name + "@conference.meet.example") }

func open(t *testing.T, d *disk, max int) *Store {
	t.Helper()
	s, err := Open(t.Context(), max, d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPresets(t *testing.T) {
	t.Parallel()
	d := &disk{}
	s := open(t, d, 2)
	now := time.Now().Truncate(time.Second).UTC()
	s.now = func() time.Time { return now }
	a := Preset{room("a"), muc.RoomPolicy{Password: "pw", MaxOccupants: 3, Moderators: []string{"anna@meet.example"}, Lobby: true}, now.Add(time.Hour)}
	b := Preset{room("b"), muc.RoomPolicy{Subject: "B"}, now.Add(2 * time.Hour)}
	for _, p := range []Preset{b, a} {
		if made, err := s.Set(t.Context(), p); err != nil || !made {
			t.Fatal(made, err)
		}
	}
	if made, err := s.Set(t.Context(), a); err != nil || made {
		t.Error(made, err)
	}
	if _, err := s.Set(t.Context(), Preset{room("c"), muc.RoomPolicy{}, now.Add(time.Hour)}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if got := s.List(); !reflect.DeepEqual(got, []Preset{a, b}) {
		t.Errorf("%+v", got)
	}
	// Another process reads the same.
	again := open(t, d, 2)
	again.now = s.now
	if got := again.List(); !reflect.DeepEqual(got, []Preset{a, b}) {
		t.Errorf("after a restart %+v", got)
	}
	// What is over is not told any more, and makes room.
	now = now.Add(90 * time.Minute)
	if p := s.Policy(room("a")); !reflect.DeepEqual(p, muc.RoomPolicy{}) {
		t.Errorf("%+v", p)
	}
	if made, err := s.Set(t.Context(), Preset{room("c"), muc.RoomPolicy{}, now.Add(time.Hour)}); err != nil || !made {
		t.Error(made, err)
	}
	if strings.Contains(d.text, "anna") {
		t.Errorf("kept for ever: %s", d.text)
	}
	if was, err := s.Delete(t.Context(), room("a")); was || err != nil {
		t.Error(was, err)
	}
	if was, err := s.Delete(t.Context(), room("b")); !was || err != nil {
		t.Error(was, err)
	}
	if p := s.Policy(room("b")); p.Subject != "" {
		t.Errorf("%+v", p)
	}
}

// What the disk did not take is not there.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	d := &disk{}
	s := open(t, d, 10)
	p := Preset{room("a"), muc.RoomPolicy{Password: "pw"}, time.Now().Add(time.Hour)}
	d.err = errors.New("disk full")
	if _, err := s.Set(t.Context(), p); !errors.Is(err, d.err) || len(s.List()) != 0 {
		t.Error(err, s.List())
	}
	d.err = nil
	if _, err := s.Set(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	d.err = errors.New("disk full")
	if _, err := s.Delete(t.Context(), p.Room); !errors.Is(err, d.err) || len(s.List()) != 1 {
		t.Error(err, s.List())
	}
	if _, err := Open(t.Context(), 1, d); !errors.Is(err, d.err) {
		t.Error(err)
	}
	if _, err := Open(t.Context(), 1, &disk{text: "nonsense"}); err == nil {
		t.Error("nonsense is taken")
	}
}

// All of them together stay small, however big each is.
func TestBytes(t *testing.T) {
	t.Parallel()
	s := open(t, &disk{}, 1000)
	big := strings.Repeat("x", maxBytes/4)
	for i, want := range []bool{true, true, true, false} {
		_, err := s.Set(t.Context(), Preset{room(string(rune('a' + i))), muc.RoomPolicy{Subject: big}, time.Now().Add(time.Hour)})
		if (err == nil) != want {
			t.Errorf("%d: %v", i, err)
		}
	}
	if n := len(s.List()); n != 3 {
		t.Errorf("%d presets", n)
	}
}
