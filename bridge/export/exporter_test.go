package export

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"confab/bridge/forward"
	"confab/bridge/rtpx"

	"github.com/coder/websocket"
)

// meeting is a conference as an exporter sees it.
type meeting struct {
	diarized    string
	transcripts chan string
	made        chan string // of sources that the service makes
}

func (m *meeting) Diarize(endpoint string) bool { return endpoint == m.diarized }
func (m *meeting) Transcript(raw []byte)        { m.transcripts <- string(raw) }

func (m *meeting) Media(source string, seq uint16, ts uint32, opus []byte) error {
	m.made <- fmt.Sprintf("%s %d %d %x", source, seq, ts, opus)
	return nil
}

func (m *meeting) Sending(source string, on bool, ts uint32) {
	m.made <- fmt.Sprintf("%s %v %d", source, on, ts)
}

// service accepts connections and hands them to the test.
func service(t *testing.T, status int) (url string, come chan *websocket.Conn) {
	t.Helper()
	come = make(chan *websocket.Conn)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != 0 {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
		} else if ws, err := websocket.Accept(w, r, nil); err == nil {
			select {
			case come <- ws:
				return
			case <-t.Context().Done():
				_ = ws.CloseNow()
			}
			return
		}
		select {
		case come <- nil:
		case <-t.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http"), come
}

// begin runs an exporter until the test ends.
func begin(t *testing.T, cfg Config) (*Exporter, *meeting, func()) {
	t.Helper()
	m := &meeting{transcripts: make(chan string, 1), made: make(chan string, 1)}
	e := New(cfg, m, &Counters{}, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Run(ctx)
	}()
	end := func() {
		stop()
		<-done
	}
	t.Cleanup(end)
	return e, m, end
}

func read(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, b, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, ws *websocket.Conn, want string) {
	t.Helper()
	if got := read(t, ws); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// opus is a packet of a microphone.
func opus(pool *rtpx.Pool, source string, number uint16, ts uint32, arrived int64) forward.Heard {
	p := pool.Get()
	p.Arrived = arrived
	return forward.Heard{
		Endpoint: strings.TrimSuffix(source, "-a0"), Source: source, Format: "opus", ClockRate: 48000, SSRC: uint32(len(source)), Number: number, TS: ts,
		HasLevel: true, Level: 30, Voice: true, Data: []byte{0xfc, 0xff, 0xfe}, Packet: p,
	}
}

// The messages as a transcriber of Jitsi's reads them (bridge.md §21).
func TestConversation(t *testing.T) {
	t.Parallel()
	url, come := service(t, 0)
	e, m, end := begin(t, Config{URL: url, Version: "1.0", Region: "eu", Exports: []string{"b-a0", "a-a0"}})
	m.diarized = "a"
	ws := <-come
	expect(t, ws, `{"event":"sources","exports":["a-a0","b-a0"],"requests":[]}`)
	expect(t, ws, `{"event":"info","application":"confab","version":"1.0","region":"eu"}`)

	pool := rtpx.NewPool()
	say := func(h forward.Heard) {
		e.Heard(h)
		h.Packet.Release()
	}
	say(opus(pool, "a-a0", 65535, 4294967000, 1e9))
	expect(t, ws, `{"event":"start","sequenceNumber":"1","start":{"tag":"a-a0","mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2,"parameters":{}},"customParameters":{"endpointId":"a"},"diarize":true}}`)
	expect(t, ws, `{"event":"media","sequenceNumber":"2","media":{"tag":"a-a0","chunk":"131071","timestamp":"0","payload":"/P/+","audioLevel":30,"vad":true}}`)
	say(opus(pool, "stranger-a0", 1, 0, 1e9)) // is not exported
	say(opus(pool, "a-a0", 0, 664, 1e9+20e6)) // numbers and timestamps go round
	expect(t, ws, `{"event":"media","sequenceNumber":"3","media":{"tag":"a-a0","chunk":"131072","timestamp":"960","payload":"/P/+","audioLevel":30,"vad":true}}`)

	// Who comes later is on the clock of the first.
	e.Rename([]string{"late-a0"}, nil)
	expect(t, ws, `{"event":"sources","exports":["late-a0"],"requests":[]}`)
	say(opus(pool, "late-a0", 7, 12345, 3e9))
	expect(t, ws, `{"event":"start","sequenceNumber":"4","start":{"tag":"late-a0","mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2,"parameters":{}},"customParameters":{"endpointId":"late"}}}`)
	expect(t, ws, `{"event":"media","sequenceNumber":"5","media":{"tag":"late-a0","chunk":"65543","timestamp":"96000","payload":"/P/+","audioLevel":30,"vad":true}}`)

	for _, nonsense := range []string{`[`, `{}`, `{"event":7}`, `{"event":"info","application":"test"}`, `{"event":"noise"}`} {
		write(t, ws, nonsense)
	}
	write(t, ws, "{ \"event\":\"transcription-result\",\n \"n\":12345678901234567890 }")
	if got := <-m.transcripts; got != `{"event":"transcription-result","n":12345678901234567890}` {
		t.Error(got)
	}
	if n := e.n.Stats(); n.Malformed != 3 || n.Infos != 1 || n.Others != 1 || n.Transcripts != 1 || n.Packets != 3 {
		t.Errorf("%+v", n)
	}

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		end()
	}()
	expect(t, ws, `{"event":"session-end"}`)
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Error(err)
	}
	<-ended
	say(opus(pool, "late-a0", 8, 13305, 3e9+20e6))
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets are kept", n)
	}
}

// A service that makes sources is told which are wanted; what it makes is taken if it is
// one of them.
func TestTranslator(t *testing.T) {
	t.Parallel()
	url, come := service(t, 0)
	e, m, _ := begin(t, Config{URL: url, Exports: []string{"a-a0"}, Requests: []string{"a-a0.hi", "a-a0.fr"}})
	ws := <-come
	expect(t, ws, `{"event":"sources","exports":["a-a0"],"requests":["a-a0.fr","a-a0.hi"]}`)
	read(t, ws)
	made := func(text, want string) {
		t.Helper()
		write(t, ws, text)
		if got := <-m.made; got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	made(`{"event":"start","sequenceNumber":"1","start":{"tag":"a-a0.hi","mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2},"timestamp":4294968256}}`, "a-a0.hi true 960")
	made(`{"event":"media","sequenceNumber":"2","media":{"tag":"a-a0.hi","chunk":"65537","timestamp":"4294968256","payload":"/P/+"}}`, "a-a0.hi 1 960 fcfffe")
	made(`{"event":"media","media":{"tag":"a-a0.hi","chunk":65538,"timestamp":4294969216,"payload":"/P/+"}}`, "a-a0.hi 2 1920 fcfffe") // numbers that are
	made(`{"event":"stop","stop":{"tag":"a-a0.hi","timestamp":"2880"}}`, "a-a0.hi false 2880")
	// Neither what others were asked for, nor what is not understood, nor plain announcements.
	for _, text := range []string{
		`{"event":"media","media":{"tag":"b-a0.hi","chunk":"1","timestamp":"960","payload":"/P/+"}}`,
		`{"event":"media","media":{"tag":"a-a0.hi","chunk":"1","timestamp":"960","payload":"not base64"}}`,
		`{"event":"media","media":{"tag":"a-a0.hi","chunk":"x","timestamp":"960","payload":"/P/+"}}`,
		`{"event":"start","start":{"tag":"b-a0.hi","timestamp":1}}`,
		`{"event":"start","start":{"tag":"a-a0.hi"}}`,
		`{"event":"stop","stop":7}`,
	} {
		write(t, ws, text)
	}
	e.Rename([]string{"a-a0"}, []string{"a-a0.fr"})
	expect(t, ws, `{"event":"sources","exports":["a-a0"],"requests":["a-a0.fr"]}`)
	write(t, ws, `{"event":"media","media":{"tag":"a-a0.hi","chunk":"3","timestamp":"2880","payload":"/P/+"}}`) // not any more
	made(`{"event":"media","media":{"tag":"a-a0.fr","chunk":"1","timestamp":"0","payload":"/P8="}}`, "a-a0.fr 1 0 fcff")
	if n := e.n.Stats(); n.Media != 5 || n.Unused != 2 || n.Changes != 3 || n.Others != 1 || n.Malformed != 3 {
		t.Errorf("%+v", n)
	}
}

// A service that does not answer pings is dead.
func TestPings(t *testing.T) {
	t.Parallel()
	url, come := service(t, 0)
	begin(t, Config{URL: url, PingInterval: 20 * time.Millisecond, PingTimeout: time.Minute})
	ws := <-come
	read(t, ws)
	for range 3 { // answered ones go on
		got := read(t, ws)
		if !strings.HasPrefix(got, `{"event":"ping","id":`) {
			t.Fatal(got)
		}
		write(t, ws, strings.Replace(got, "ping", "pong", 1))
	}
	_ = ws.CloseNow()
	begin(t, Config{URL: url, PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond})
	for range 2 { // the first and the one in its place
		ws := <-come
		_ = ws.Write(t.Context(), websocket.MessageText, []byte(`{"event":"pong","id":77}`)) // of nothing that was sent; it may have been given up
	}
}

// A host that redirects does not get the headers to another one.
func TestNoRedirection(t *testing.T) {
	t.Parallel()
	url, come := service(t, http.StatusTemporaryRedirect)
	e, _, _ := begin(t, Config{URL: url, Headers: http.Header{"Authorization": {"secret"}}})
	<-come
	<-come // it was tried again, here
	if n := e.n.Stats(); n.Starts != 1 || n.Failures == 0 || e.connected.Load() {
		t.Errorf("%+v", n)
	}
}

// Nobody waits for a service that is slow.
func TestSlowService(t *testing.T) {
	t.Parallel()
	e := New(Config{}, &meeting{}, &Counters{}, slog.New(slog.DiscardHandler))
	e.connected.Store(true)
	pool := rtpx.NewPool()
	for range queueSize + 10 {
		h := opus(pool, "a-a0", 1, 1, 1)
		e.Heard(h)
		h.Packet.Release()
	}
	if n := e.n.Stats(); n.Dropped != 10 || pool.Outstanding() != queueSize {
		t.Errorf("%+v, %d packets are kept", n, pool.Outstanding())
	}
	e.discard()
	if n := pool.Outstanding(); n != 0 {
		t.Errorf("%d packets are kept", n)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[int]time.Duration{0: 0, 1: 0, 2: time.Second, 3: 2 * time.Second, 6: 16 * time.Second, 7: maxRetryDelay, 1 << 30: maxRetryDelay} {
		if got := pause(attempt); got != want {
			t.Errorf("attempt %d: %v instead of %v", attempt, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"event":"pong","id":1}`, `{"event":"transcription-result","transcript":[{"text":"a"}]}`, `{"event":"start","start":{}}`, `[]`,
		`{"event":"media","media":{"tag":"a-a0.hi","chunk":"17","timestamp":"960","payload":"/P/+"}}`, `{"event":"stop","stop":{"tag":"a","timestamp":1}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err == nil && m.event == eventTranscript && (!json.Valid(m.raw) || m.raw[0] != '{') {
			t.Fatalf("%q", m.raw)
		}
	})
}

func BenchmarkMedia(b *testing.B) {
	s := newSerializer()
	h := opus(rtpx.NewPool(), "a-a0", 1, 1, 1)
	h.Data = make([]byte, 100)
	s.start(&h, func(string) bool { return false })
	b.ReportAllocs()
	for b.Loop() {
		h.Number++
		h.TS += 960
		s.media(&h)
	}
}
