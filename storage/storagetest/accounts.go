package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"confab/storage"
)

// account makes a valid account whose keys depend on the seed.
func account(user, host string, seed byte) storage.Account {
	return storage.Account{
		User: user, Host: host,
		Salt: bytes.Repeat([]byte{seed}, 16), Iterations: 10_000 + int(seed),
		SHA1StoredKey:   bytes.Repeat([]byte{seed, 1}, 10),
		SHA1ServerKey:   bytes.Repeat([]byte{seed, 0}, 10), // zero bytes must survive
		SHA256StoredKey: bytes.Repeat([]byte{seed, 3}, 16),
		SHA256ServerKey: bytes.Repeat([]byte{seed, 0xff}, 16),
		IsHost:          seed%2 == 1,
	}
}

// same compares all but the times.
func same(a, b storage.Account) bool {
	a.CreatedAt, a.UpdatedAt, b.CreatedAt, b.UpdatedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

func mustCreate(t *testing.T, s Store, a storage.Account) {
	t.Helper()
	if err := s.CreateAccount(t.Context(), a); err != nil {
		t.Fatalf("create %s@%s: %v", a.User, a.Host, err)
	}
}

func mustAccount(t *testing.T, s Store, user, host string) storage.Account {
	t.Helper()
	a, err := s.Account(t.Context(), user, host)
	if err != nil {
		t.Fatalf("account %s@%s: %v", user, host, err)
	}
	return a
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func keepsAccounts(t *testing.T, w world) {
	s := w.open(t)
	before := time.Now().UTC().Truncate(time.Millisecond)
	for i, user := range []string{"host", "Host", "anna.müller", "o'brien", `a\20b`, "用户", strings.Repeat("x", 1023)} {
		want := account(user, "meet.example", byte(i+1))
		mustCreate(t, s, want)
		got := mustAccount(t, s, user, "meet.example")
		if !same(got, want) {
			t.Errorf("account %.20q\n got %+v\nwant %+v", user, got, want)
		}
		if got.CreatedAt.Before(before) || got.CreatedAt.After(time.Now()) || !got.UpdatedAt.Equal(got.CreatedAt) ||
			got.CreatedAt.Location() != time.UTC {
			t.Errorf("account %.20q: created %v, updated %v", user, got.CreatedAt, got.UpdatedAt)
		}
	}
	_, err := s.Account(t.Context(), "host", "other.example")
	wantError(t, "other host", err, storage.ErrNotFound)
	_, err = s.Account(t.Context(), "", "meet.example")
	wantError(t, "empty user", err, storage.ErrNotFound)
}

func accountOnce(t *testing.T, w world) {
	s := w.open(t)
	first := account("host", "meet.example", 1)
	mustCreate(t, s, first)
	wantError(t, "create again", s.CreateAccount(t.Context(), account("host", "meet.example", 2)), storage.ErrConflict)
	if got := mustAccount(t, s, "host", "meet.example"); !same(got, first) {
		t.Errorf("the refused create changed the account: %+v", got)
	}
	mustCreate(t, s, account("host", "auth.meet.example", 2)) // another host, another account
}

func changesAccounts(t *testing.T, w world) {
	s := w.open(t)
	mustCreate(t, s, account("host", "meet.example", 1))
	mustCreate(t, s, account("guest", "meet.example", 3))
	created := mustAccount(t, s, "host", "meet.example")

	changed := account("host", "meet.example", 2)
	if err := s.UpdateAccount(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	got := mustAccount(t, s, "host", "meet.example")
	if !same(got, changed) || !got.CreatedAt.Equal(created.CreatedAt) || got.UpdatedAt.Before(created.UpdatedAt) {
		t.Errorf("after the change: %+v", got)
	}
	if got := mustAccount(t, s, "guest", "meet.example"); !same(got, account("guest", "meet.example", 3)) {
		t.Errorf("the change reached another account: %+v", got)
	}
	wantError(t, "update of nobody", s.UpdateAccount(t.Context(), account("nobody", "meet.example", 1)), storage.ErrNotFound)

	if err := s.DeleteAccount(t.Context(), "host", "meet.example"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Account(t.Context(), "host", "meet.example")
	wantError(t, "after the removal", err, storage.ErrNotFound)
	wantError(t, "remove again", s.DeleteAccount(t.Context(), "host", "meet.example"), storage.ErrNotFound)
	mustAccount(t, s, "guest", "meet.example")
}

func listsAccounts(t *testing.T, w world) {
	s := w.open(t)
	if list, err := s.Accounts(t.Context(), ""); err != nil || len(list) != 0 {
		t.Fatalf("empty database: %v, %v", list, err)
	}
	for i, jid := range []string{"b@b.example", "a@b.example", "Z@b.example", "ä@b.example", "zz@a.example"} {
		user, host, _ := strings.Cut(jid, "@")
		mustCreate(t, s, account(user, host, byte(i)))
	}
	for host, want := range map[string]string{
		"":          "zz@a.example Z@b.example a@b.example b@b.example ä@b.example",
		"b.example": "Z@b.example a@b.example b@b.example ä@b.example",
		"c.example": "",
	} {
		list, err := s.Accounts(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, a := range list {
			names = append(names, a.User+"@"+a.Host)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("accounts of %q: %s", host, got)
		}
	}
}

func refusesInvalid(t *testing.T, w world) {
	s := w.open(t)
	mustCreate(t, s, account("host", "meet.example", 1))
	for name, change := range map[string]func(*storage.Account){
		"no user":         func(a *storage.Account) { a.User = "" },
		"no host":         func(a *storage.Account) { a.Host = "" },
		"user with NUL":   func(a *storage.Account) { a.User = "ho\x00st" },
		"user not UTF-8":  func(a *storage.Account) { a.User = "\xff" },
		"long user":       func(a *storage.Account) { a.User = strings.Repeat("x", 1024) },
		"no salt":         func(a *storage.Account) { a.Salt = nil },
		"no iterations":   func(a *storage.Account) { a.Iterations = 0 },
		"short SHA-1 key": func(a *storage.Account) { a.SHA1StoredKey = a.SHA1StoredKey[:19] },
		"no SHA-256 key":  func(a *storage.Account) { a.SHA256ServerKey = nil },
	} {
		a := account("host", "meet.example", 2)
		change(&a)
		wantError(t, "create: "+name, s.CreateAccount(t.Context(), a), storage.ErrInvalid)
		wantError(t, "update: "+name, s.UpdateAccount(t.Context(), a), storage.ErrInvalid)
	}
	list, err := s.Accounts(t.Context(), "")
	if err != nil || len(list) != 1 || !same(list[0], account("host", "meet.example", 1)) {
		t.Errorf("afterwards: %+v, %v", list, err)
	}
}

func notText(t *testing.T, w world) {
	s := w.open(t)
	for _, name := range []string{"ho\x00st", "\xff\xfe", "a\xc3"} {
		_, err := s.Account(t.Context(), name, "meet.example")
		wantError(t, "account", err, storage.ErrNotFound)
		_, err = s.Account(t.Context(), "host", name)
		wantError(t, "account of host", err, storage.ErrNotFound)
		wantError(t, "delete", s.DeleteAccount(t.Context(), name, name), storage.ErrNotFound)
		_, err = s.Setting(t.Context(), name)
		wantError(t, "setting", err, storage.ErrNotFound)
		wantError(t, "set", s.SetSetting(t.Context(), name, "1"), storage.ErrInvalid)
		wantError(t, "set value", s.SetSetting(t.Context(), "key", name), storage.ErrInvalid)
	}
}

func createRace(t *testing.T, w world) {
	s := w.open(t)
	const writers = 16
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			switch err := s.CreateAccount(t.Context(), account("host", "meet.example", byte(i))); {
			case err == nil:
				made.Add(1)
			case errors.Is(err, storage.ErrConflict):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || refused.Load() != writers-1 {
		t.Errorf("%d succeeded, %d were refused", made.Load(), refused.Load())
	}
}

// readersAndWriters uses two openings, as confab user add beside a running server does.
func readersAndWriters(t *testing.T, w world) {
	server, command := w.open(t), w.open(t)
	const each = 20
	var wg sync.WaitGroup
	for n, s := range []Store{server, server, command, command} {
		wg.Go(func() {
			for i := range each {
				user := fmt.Sprintf("u%d-%d", n, i)
				if err := s.CreateAccount(t.Context(), account(user, "meet.example", byte(i))); err != nil {
					t.Errorf("create: %v", err)
					return
				}
				// What was written is seen at once, from either side.
				if _, err := server.Account(t.Context(), user, "meet.example"); err != nil {
					t.Errorf("read back: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if list, err := server.Accounts(t.Context(), ""); err != nil || len(list) != 4*each {
		t.Errorf("%d accounts, %v", len(list), err)
	}
}

func cancelled(t *testing.T, w world) {
	s := w.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "create", s.CreateAccount(ctx, account("host", "meet.example", 1)), context.Canceled)
	_, err := s.Account(ctx, "host", "meet.example")
	wantError(t, "read", err, context.Canceled)
	mustCreate(t, s, account("host", "meet.example", 1)) // and nothing is stuck
}
