// Command confab-bench loads a running server through its real signalling and
// reports what that cost the server. Most commands are the Go client of the tests,
// many times; media has clients of its own, cheap enough to load a server with
// hundreds of thousands of packets a second from one core (package swarm).
//
//	confab-bench media    [-rooms 1] [-people 11] [-senders 1] [-find] [-ceiling] [-janus ws://127.0.0.1:8188 -janus-pid PID] …
//	confab-bench scale    [-scene meeting|screen|small]
//	confab-bench turn     -secret SECRET -turn ADDR [-coturn ADDR -coturn-pid PID] [-allocations 50] [-size 1200] [-find] …
//	confab-bench table    FILE…
//	confab-bench meetings [-rooms 10] [-people 3] [-seconds 15]
//	confab-bench chat     [-people 70] [-messages 200]
//	confab-bench join     [-n 20]
//	confab-bench broadcast [-people 70] [-rate 20] [-seconds 10]
//	confab-bench room     [-people 500] [-messages 20] [-plain -muc conference.DOMAIN]
//
// Every command takes -url, -domain, -pid (of the server, for CPU time and
// memory), -json and -progress. It talks to the given addresses only, loopback by default,
// and ends by itself.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"confab/internal/meettest"
)

// target is the server under load.
type target struct {
	url, domain string
	pid         int
	asJSON      bool
	progress    bool
	timeout     time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "confab-bench:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(context.Context, []string) error{"media": media, "blast": blast, "scale": scale, "turn": turn, "table": table, "meetings": meetings, "chat": chat, "join": join, "broadcast": broadcast, "room": room}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("media, scale, turn, table, meetings, chat, join, broadcast or room expected; -h after it shows the flags")
	}
	return commands[args[0]](ctx, args[1:])
}

// flags are those that all commands have.
func (t *target) flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.StringVar(&t.url, "url", "wss://127.0.0.1:8443/xmpp-websocket", "WebSocket of the server")
	fs.StringVar(&t.domain, "domain", "localhost", "domain of the server")
	fs.IntVar(&t.pid, "pid", 0, "process of the server, for its CPU time and memory")
	fs.BoolVar(&t.asJSON, "json", false, "print JSON")
	fs.BoolVar(&t.progress, "progress", false, "say on standard error what is done")
	fs.DurationVar(&t.timeout, "timeout", 5*time.Minute, "end of everything")
	return fs
}

// join brings a client into a room.
func (t *target) join(ctx context.Context, room string, m *meettest.Media) (*meettest.Client, error) {
	c, err := meettest.Dial(ctx, meettest.Options{URL: t.url, Domain: t.domain, Media: m})
	if err != nil {
		return nil, err
	}
	if err := c.Join(ctx, room); err != nil {
		c.Kill()
		return nil, fmt.Errorf("join %s: %w", room, err)
	}
	return c, nil
}

// roomName is a room that no earlier run has used: lost clients stay in theirs
// for a minute.
func roomName(what string, n int) string {
	return fmt.Sprintf("bench-%s-%d-%d", what, os.Getpid(), n)
}

// report prints figures in order.
func (t *target) report(figures []figure) error {
	if t.asJSON {
		out := map[string]any{}
		for _, f := range figures {
			out[f.name] = f.value
		}
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	for _, f := range figures {
		switch v := f.value.(type) {
		case float64:
			fmt.Printf("%-44s %.2f\n", f.name, v)
		default:
			fmt.Printf("%-44s %v\n", f.name, v)
		}
	}
	return nil
}

// say reports progress.
func (t *target) say(format string, args ...any) {
	if t.progress {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// bounded refuses what would be too much.
func bounded(name string, n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("-%s must be %d to %d", name, least, most)
	}
	return nil
}

type figure struct {
	name  string
	value any
}

// wait is time that the load runs; it ends early with ctx.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
