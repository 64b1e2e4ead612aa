package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"confab/storage"
)

// broken is a database that is down.
type broken struct{ Storage }

func (broken) Account(context.Context, string, string) (storage.Account, error) {
	return storage.Account{}, errors.New("connection refused")
}

// The client is told to come again; the operator is told why.
func TestUnreadableAccountIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a := accounts{broken{}, slog.New(slog.NewTextHandler(&log, nil))}
	if _, _, err := a.Account(t.Context(), "host", "meet.example"); err == nil {
		t.Error("no error")
	}
	if want := `msg="account not read" jid=host@meet.example err="connection refused"`; !strings.Contains(log.String(), want) {
		t.Errorf("got %s, want %s", log.String(), want)
	}
}
