package storagetest

import (
	"context"
	"strings"
	"sync"
	"testing"

	"confab/storage"
)

func settings(t *testing.T, w world) {
	s := w.open(t)
	_, err := s.Setting(t.Context(), "domain")
	wantError(t, "never set", err, storage.ErrNotFound)
	wantError(t, "empty key", s.SetSetting(t.Context(), "", "x"), storage.ErrInvalid)

	for _, value := range []string{"meet.example", "", "größer 'quoted' \"twice\"\n", strings.Repeat("x", 1<<20)} {
		if err := s.SetSetting(t.Context(), "domain", value); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Setting(t.Context(), "domain"); err != nil || got != value {
			t.Errorf("got %.40q, %v; want %.40q", got, err, value)
		}
	}
	_, err = s.Setting(t.Context(), "Domain")
	wantError(t, "another key", err, storage.ErrNotFound)
}

func reopens(t *testing.T, w world) {
	s, err := w.dial(t.Context(), w.address)
	if err != nil {
		t.Fatal(err)
	}
	want := account("host", "meet.example", 7)
	mustCreate(t, s, want)
	if err := s.SetSetting(t.Context(), "domain", "meet.example"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = w.open(t)
	if got := mustAccount(t, s, "host", "meet.example"); !same(got, want) {
		t.Errorf("got %+v", got)
	}
	if v, err := s.Setting(t.Context(), "domain"); err != nil || v != "meet.example" {
		t.Errorf("setting %q, %v", v, err)
	}
}

func opensAtOnce(t *testing.T, w world) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := w.dial(t.Context(), w.address)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	mustCreate(t, w.open(t), account("host", "meet.example", 1))
}

func closed(t *testing.T, w world) {
	s, err := w.dial(t.Context(), w.address)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Ping(context.Background()) == nil || s.CreateAccount(t.Context(), account("host", "meet.example", 1)) == nil {
		t.Error("a closed database answers")
	}
}
