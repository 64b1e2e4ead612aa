package guard

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDo(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	g := New("queue", slog.New(slog.NewTextHandler(&log, nil)))
	if !g.Do(func() {}) || g.Panics() != 0 || log.Len() != 0 {
		t.Errorf("%d panics: %s", g.Panics(), &log)
	}
	if g.Do(func() { panic("a bug") }) || g.Panics() != 1 {
		t.Errorf("%d panics", g.Panics())
	}
	for _, want := range []string{"level=ERROR", "part=queue", `panic="a bug"`, "TestDo"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, &log)
		}
	}
}

// A part that panics is there again after a pause, and its end is its own.
func TestKeep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New("files", slog.New(slog.DiscardHandler))
		failed := errors.New("disk gone")
		runs, began := 0, time.Now()
		err := g.Keep(t.Context(), func(context.Context) error {
			if runs++; runs < 3 {
				panic("a bug")
			}
			return failed
		})
		if err != failed || runs != 3 || g.Panics() != 2 || time.Since(began) != 2*pause {
			t.Errorf("%v after %d runs, %d panics, %v", err, runs, g.Panics(), time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := g.Keep(ctx, func(context.Context) error { cancel(); panic("a bug at the end") }); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
