package bridge

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// Who sends a message of 10 MB loses its channel, and nobody else's does anything; it
// may come back.
func TestMessageThatIsTooLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.must(createFirst)
	a := w.dial(m, "aaaaaaaa")
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	w.expect(a, "ServerHello")
	w.expect(b, "ServerHello")
	go func() {
		_ = a.Write(t.Context(), websocket.MessageText, []byte(`{"colibriClass":"EndpointMessage","to":"","msgPayload":{"x":"`+strings.Repeat("x", 10<<20)+`"}}`))
	}()
	for {
		if _, _, err := a.Read(t.Context()); err != nil {
			if got := websocket.CloseStatus(err); got != websocket.StatusMessageTooBig {
				t.Errorf("closed with %v: %v", got, err)
			}
			break
		}
	}
	again := w.dial(m, "aaaaaaaa")
	w.expect(again, "ServerHello")
	w.say(again, `{"colibriClass":"EndpointMessage","to":"bbbbbbbb","msgPayload":{"n":1}}`)
	if got := w.expect(b, "EndpointMessage"); got["from"] != "aaaaaaaa" {
		t.Errorf("%v", got)
	}
}

// A million constraints are refused, those of sources that are not there forgotten.
func TestManyConstraints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))
	w.expect(a, "ServerHello")
	var many []string
	for i := range 900 {
		many = append(many, fmt.Sprintf(`"x%d":{"maxHeight":180.5}`, i))
	}
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"constraints":{`+strings.Join(many, ",")+`}}`)
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"constraints":{"aaaaaaaa-v0":{"maxHeight":1e99}}}`)
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"constraints":{"aaaaaaaa-v0":{"maxHeight":360}}}`)
	for len(w.expect(b, "ForwardedSources")["forwardedSources"].([]any)) == 0 {
	}
	for w.expect(a, "SenderSourceConstraints")["maxHeight"] != 360.0 {
	}
}

// The larger the conference, the fewer messages to all of it.
func TestBroadcastWeight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ bytes, receivers, want int }{{10, 2, 1}, {10, 99, 1}, {10, 100, 2}, {10, 500, 6}, {5000, 2, 2}, {65536, 2, 17}, {5000, 500, 12}} {
		if got := broadcastWeight(c.bytes, c.receivers); got != c.want {
			t.Errorf("%d bytes to %d: %d, want %d", c.bytes, c.receivers, got, c.want)
		}
	}
}
