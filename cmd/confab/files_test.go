package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"

	"confab/extdisco"
	"confab/internal/guard"
	"confab/xmpp"
)

// A mistake of ours while a token is made is an error for whoever asked for it; the
// workers go on.
func TestTokenWorkersOutliveAPanic(t *testing.T) {
	t.Parallel()
	// Without a server a look at its rooms is such a mistake.
	k := &tokens{guard: guard.New("tokens", slog.New(slog.NewTextHandler(io.Discard, nil))), queue: make(chan tokenRequest, tokenQueue)}
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	const asked = 3 * tokenWorkers
	for range asked {
		wg.Add(1)
		err := k.Issue(xmpp.MustJID("u1@meet.example/r"), func(_ extdisco.Issued, err error) {
			defer wg.Done()
			if e, ok := errors.AsType[*xmpp.StanzaError](err); !ok || e.Cond != xmpp.InternalServerError("").Cond {
				t.Errorf("%v", err)
			}
			panic("a bug of the one who asked")
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, end := context.WithCancel(t.Context())
	go func() { ended <- k.Run(ctx) }()
	wg.Wait()
	for range asked {
		wg.Add(1)
		if err := k.Issue(xmpp.MustJID("u2@meet.example/r"), func(extdisco.Issued, error) { wg.Done() }); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	end()
	<-ended
	if n := k.guard.Panics(); n != 3*asked {
		t.Errorf("%d panics", n)
	}
}
