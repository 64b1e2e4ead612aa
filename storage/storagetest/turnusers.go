package storagetest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"confab/storage"
)

func turnUsers(t *testing.T, w world) {
	s := w.open(t)
	user := func(name, realm string, seed byte) storage.TURNUser {
		return storage.TURNUser{Name: name, Realm: realm, Key: append(bytes.Repeat([]byte{seed}, 15), 0)}
	}
	// names are those of a realm, in the order that is promised.
	names := func(realm string) string {
		t.Helper()
		list, err := s.TURNUsers(t.Context(), realm)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, u := range list {
			out = append(out, u.Realm+"/"+u.Name)
		}
		return strings.Join(out, " ")
	}
	if got := names(""); got != "" {
		t.Errorf("a new database has users: %s", got)
	}
	start := time.Now().Add(-time.Second)
	for _, u := range []storage.TURNUser{user("b", "one.example", 1), user("a", "one.example", 2), user("B", "one.example", 3), user("a", "two.example", 4)} {
		if err := s.CreateTURNUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, "the same again", s.CreateTURNUser(t.Context(), user("a", "one.example", 9)), storage.ErrConflict)
	if got := names(""); got != "one.example/B one.example/a one.example/b two.example/a" {
		t.Error(got)
	}
	if got := names("two.example"); got != "two.example/a" {
		t.Error(got)
	}
	list, err := s.TURNUsers(t.Context(), "two.example")
	if err != nil || !bytes.Equal(list[0].Key, user("", "", 4).Key) || list[0].CreatedAt.Before(start) || list[0].CreatedAt.Location() != time.UTC {
		t.Errorf("%+v, %v", list, err)
	}
	for what, u := range map[string]storage.TURNUser{
		"no name": user("", "r", 1), "no realm": user("n", "", 1), "long name": user(strings.Repeat("x", 509), "r", 1),
		"no text": user("a\x00", "r", 1), "short key": {Name: "n", Realm: "r", Key: make([]byte, 15)},
	} {
		wantError(t, what, s.CreateTURNUser(t.Context(), u), storage.ErrInvalid)
	}
	if err := s.DeleteTURNUser(t.Context(), "a", "one.example"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "A", "a\x00", "\xff"} {
		wantError(t, "delete of nobody", s.DeleteTURNUser(t.Context(), name, "one.example"), storage.ErrNotFound)
	}
	if got := names(""); got != "one.example/B one.example/b two.example/a" {
		t.Error(got)
	}
}
