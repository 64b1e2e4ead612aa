package main

import (
	"context"
	"io"
	"testing"

	"confab/cmd/confab/config"
)

// startedWriter gets the summary, which says that the server is up.
type startedWriter chan string

func (w startedWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

// startServer runs a server in this process and returns what it prints when it is up.
// It is told to end by stop, or else when the test is over, which waits for that.
func startServer(t *testing.T, cfg config.Config, re reloads, log io.Writer) (summary string, stop func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, ended := make(startedWriter, 1), make(chan error, 1)
	go func() { ended <- serve(ctx, cfg, re, out, log) }()
	select {
	case summary = <-out:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return summary, stop
}
