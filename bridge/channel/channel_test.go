package channel

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"confab/bridge/alloc"

	"github.com/coder/websocket"
)

func ptr[T any](v T) *T { return &v }

func TestReceiverConstraints(t *testing.T) {
	for in, want := range map[string]ReceiverConstraints{
		`{"colibriClass":"ReceiverVideoConstraints","assumedBandwidthBps":-1,"lastN":-1}`: {Message: alloc.Message{LastN: ptr(-1), AssumedBandwidth: ptr(alloc.Bitrate(-1))}},
		`{"colibriClass":"ReceiverVideoConstraints","constraints":{"10fdcd7f-v0":{"maxHeight":720}},"defaultConstraints":{"maxHeight":0},"lastN":-1,"onStageSources":["10fdcd7f-v0"],"selectedSources":[],"unknown":1}`: {
			Message: alloc.Message{LastN: ptr(-1), PerSource: map[string]alloc.Constraint{"10fdcd7f-v0": alloc.Height(720)}, Default: ptr(alloc.Height(0)),
				OnStage: []string{"10fdcd7f-v0"}, Selected: []string{}}},
		// December 2021 speaks of endpoints.
		`{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"onStageEndpoints":["77aa0b13"],"selectedEndpoints":[],"constraints":{"77aa0b13":{"maxHeight":2160}}}`: {
			Message:   alloc.Message{LastN: ptr(-1), PerSource: map[string]alloc.Constraint{"77aa0b13-v0": alloc.Height(2160)}, OnStage: []string{"77aa0b13-v0"}, Selected: []string{}},
			Endpoints: true},
		`{"colibriClass":"SelectedEndpointsChangedEvent","selectedEndpoints":["77aa0b13"]}`: {Message: alloc.Message{OnStage: []string{"77aa0b13-v0"}, Selected: []string{}}, Endpoints: true},
		`{"colibriClass":"LastNChangedEvent","lastN":4}`:                                    {Message: alloc.Message{LastN: ptr(4)}},
	} {
		got, err := Parse([]byte(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v, %v\nwant %+v", in, got, err, want)
		}
	}
}

func TestAudioSubscription(t *testing.T) {
	for in, want := range map[string]AudioSubscription{
		`{"colibriClass":"ReceiverAudioSubscription","all":true,"include":["77aa0b13-a0.hi"],"exclude":["77aa0b13-a0"]}`: {true, []string{"77aa0b13-a0.hi"}, []string{"77aa0b13-a0"}},
		`{"colibriClass":"ReceiverAudioSubscription","all":false}`:                                                       {},
		`{"colibriClass":"ReceiverAudioSubscription"}`:                                                                   {All: true},
		`{"colibriClass":"ReceiverAudioSubscription","mode":"All"}`:                                                      {All: true},
		`{"colibriClass":"ReceiverAudioSubscription","mode":"None"}`:                                                     {},
		`{"colibriClass":"ReceiverAudioSubscription","mode":"Include","list":["a-a0"]}`:                                  {Include: []string{"a-a0"}},
		`{"colibriClass":"ReceiverAudioSubscription","mode":"exclude","list":["a-a0"]}`:                                  {All: true, Exclude: []string{"a-a0"}},
	} {
		if got, err := Parse([]byte(in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v, %v\nwant %+v", in, got, err, want)
		}
	}
	many, _ := json.Marshal(make([]string, maxNames+1))
	for _, in := range []string{
		`{"colibriClass":"ReceiverAudioSubscription","mode":"Some"}`,
		`{"colibriClass":"ReceiverAudioSubscription","all":1}`,
		`{"colibriClass":"ReceiverAudioSubscription","include":` + string(many) + `}`,
		`{"colibriClass":"ReceiverAudioSubscription","exclude":["` + strings.Repeat("x", maxNameLength+1) + `"]}`,
	} {
		if m, err := Parse([]byte(in)); err == nil {
			t.Errorf("%.80s is taken for %+v", in, m)
		}
	}
}

func TestRelayedMessageKeepsItsFieldsAndLosesItsForgedSender(t *testing.T) {
	m, err := Parse([]byte(`{"colibriClass":"EndpointMessage","to":"","from":"forged","msgPayload":{"name":"endpoint-reaction","reactions":["like"],"n":12345678901234567890},"x":1}`))
	if err != nil {
		t.Fatal(err)
	}
	r := m.(Relayed)
	got := string(r.Encode("4a1c9f02"))
	want := `{"colibriClass":"EndpointMessage","from":"4a1c9f02","msgPayload":{"name":"endpoint-reaction","reactions":["like"],"n":12345678901234567890},"to":"","x":1}`
	if r.Stats || r.To != "" || got != want {
		t.Fatalf("%+v %s", r, got)
	}
}

// Go reads the names of fields in any case, clients do not: a message that the
// bridge takes for one between clients must be no other for them.
func TestRelayedMessageIsWhatItWasTakenFor(t *testing.T) {
	for in, class := range map[string]string{
		`{"colibriClass":"SenderSourceConstraints","COLIBRICLASS":"EndpointMessage","sourceName":"a-v0","maxHeight":0}`: "EndpointMessage",
		`{"ColibriClass":"EndpointStats","bitrate":1}`:                                                                  "EndpointStats",
	} {
		m, err := Parse([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(m.(Relayed).Encode("4a1c9f02"), &out); err != nil || out["colibriClass"] != class {
			t.Errorf("%s goes out as %v %v", in, out["colibriClass"], err)
		}
	}
}

func TestOutgoing(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{string(SenderConstraints("a-v0", 180)), `{"colibriClass":"SenderSourceConstraints","sourceName":"a-v0","maxHeight":180}`},
		{string(SenderVideoConstraints(180)), `{"colibriClass":"SenderVideoConstraints","videoConstraints":{"idealHeight":180}}`},
		{string(VideoSources([]Mapped{{Source: "a-v0", Owner: "a", SSRC: 4000000000, RTX: 2, VideoType: "CAMERA", Mid: "v0"}})), `{"colibriClass":"VideoSourcesMap","mappedSources":[{"source":"a-v0","owner":"a","ssrc":4000000000,"rtx":2,"videoType":"CAMERA","mid":"v0"}]}`},
		{string(AudioSources([]Mapped{{Source: "a-a0", Owner: "a", SSRC: 1}})), `{"colibriClass":"AudioSourcesMap","mappedSources":[{"source":"a-a0","owner":"a","ssrc":1}]}`},
		{string(ForwardedSources(nil)), `{"colibriClass":"ForwardedSources","forwardedSources":[]}`},
		{string(LastNEndpoints([]string{"a"})), `{"colibriClass":"LastNEndpointsChangeEvent","lastNEndpoints":["a"]}`},
		{string(DominantSpeaker("a", []string{"b"})), `{"colibriClass":"DominantSpeakerEndpointChangeEvent","dominantSpeakerEndpoint":"a","previousSpeakers":["b"],"silence":false}`},
		{string(Connectivity("a", false)), `{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a","active":"false"}`},
		{string(ServerHello()), `{"colibriClass":"ServerHello"}`},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, in := range []string{"", "nonsense", "[]", `"x"`, `{"colibriClass":7}`, `{"colibriClass":"ReceiverVideoConstraints","lastN":"x"}`,
		`{"colibriClass":"ReceiverVideoConstraints","constraints":{"a-v0":{"maxHeight":-7}}}`,
		`{"colibriClass":"SourceVideoTypeMessage","videoType":"camera"}`,
		`{"colibriClass":"EndpointMessage","to":5}`,
		`{"colibriClass":"ReceiverVideoConstraints","selectedSources":["` + strings.Repeat(`x","`, 600) + `x"]}`,
	} {
		if m, err := Parse([]byte(in)); err == nil {
			t.Errorf("%.60s: accepted as %+v", in, m)
		}
	}
	if _, err := Parse([]byte(`{"colibriClass":"Future"}`)); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// Everything that recorded clients sent is understood.
func TestCapturedMessages(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.jsonl")
	if len(files) == 0 {
		t.Fatal("no recorded messages")
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
			if _, err := Parse(sc.Bytes()); err != nil {
				t.Errorf("%s: %v: %s", f, err, sc.Text())
			}
		}
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	conns := make(chan *Conn, 1)
	got := make(chan string, 1)
	served := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(served)
		lim := DefaultLimits
		lim.Message = 100
		c, err := Accept(w, r, lim)
		if err != nil {
			return
		}
		conns <- c
		c.Serve(func(b []byte) { got <- string(b) })
	}))
	t.Cleanup(srv.Close)
	ws, _, err := websocket.Dial(t.Context(), srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := <-conns
	c.Send(ServerHello())
	if _, b, err := ws.Read(t.Context()); err != nil || string(b) != string(ServerHello()) {
		t.Fatalf("%s %v", b, err)
	}
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	if m := <-got; m != `{"a":1}` {
		t.Fatal(m)
	}
	c.Close(ErrReplaced)
	_, _, err = ws.Read(t.Context())
	var ce websocket.CloseError
	if !errors.As(err, &ce) || ce.Code != websocket.StatusNormalClosure || ce.Reason != "replaced" {
		t.Fatalf("closed with %v", err)
	}
	select {
	case <-served:
	case <-time.After(time.Minute):
		t.Fatal("the handler is still there")
	}
}

// How a channel has ended is told as JVB counts it.
func TestWebSocketEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(c *Conn, ws *websocket.Conn) error
		want End
	}{
		"goodbye":         {func(_ *Conn, ws *websocket.Conn) error { return ws.Close(websocket.StatusGoingAway, "") }, EndNormal},
		"without a code":  {func(_ *Conn, ws *websocket.Conn) error { return ws.Close(websocket.StatusNoStatusRcvd, "") }, EndNormal},
		"client's error":  {func(_ *Conn, ws *websocket.Conn) error { return ws.Close(websocket.StatusInternalError, "") }, EndAbnormal},
		"cut":             {func(_ *Conn, ws *websocket.Conn) error { return ws.CloseNow() }, EndBroken},
		"replaced":        {func(c *Conn, _ *websocket.Conn) error { c.Close(ErrReplaced); return nil }, EndNormal},
		"does not read":   {func(c *Conn, _ *websocket.Conn) error { c.Close(ErrSlow); return nil }, EndAbnormal},
		"meeting is over": {func(c *Conn, _ *websocket.Conn) error { c.Close(ErrExpired); return nil }, EndNormal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conns, ends := make(chan *Conn, 1), make(chan End, 1)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := Accept(w, r, DefaultLimits)
				if err != nil {
					return
				}
				conns <- c
				ends <- c.Serve(func([]byte) {})
			}))
			t.Cleanup(srv.Close)
			ws, _, err := websocket.Dial(t.Context(), srv.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ws.CloseNow() })
			go func() { _, _, _ = ws.Read(t.Context()) }() // which answers the bridge's goodbye
			_ = tc.end(<-conns, ws)                        // the answer to a goodbye may not come
			if got := <-ends; got != tc.want {
				t.Errorf("ended %d, want %d", got, tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"colibriClass":"ReceiverVideoConstraints","constraints":{"a":{"maxHeight":1}},"lastN":1}`))
	f.Add([]byte(`{"colibriClass":"EndpointMessage","to":"a","msgPayload":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if r, ok := m.(Relayed); ok {
			var back map[string]any
			if err := json.Unmarshal(r.Encode("a"), &back); err != nil || back["from"] != "a" {
				t.Fatalf("%v %v", back, err)
			}
		}
	})
}
