package scenario

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"confab/internal/meettest"
	"confab/xmpp"
)

// transcriber is a service as Jitsi's bridges use them, played by the test.
type transcriber struct {
	w    *world
	http *httptest.Server
	come chan *transcription
}

// transcription is one connection to it.
type transcription struct {
	w    *world
	ws   *websocket.Conn
	path string
}

// mediaJSON is a message of a bridge.
type mediaJSON struct {
	Event          string
	SequenceNumber string
	Start          struct {
		Tag         string
		MediaFormat struct {
			Encoding             string
			SampleRate, Channels int
		}
		CustomParameters struct{ EndpointID string }
	}
	Media struct {
		Tag, Chunk, Timestamp, Payload string
		AudioLevel                     *int
	}
}

func newTranscriber(t *testing.T) *transcriber {
	t.Helper()
	s := &transcriber{come: make(chan *transcription)}
	s.http = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer open" {
			http.Error(rw, "who is there?", http.StatusForbidden)
			return
		}
		ws, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		select {
		case s.come <- &transcription{s.w, ws, r.URL.Path}:
		case <-r.Context().Done():
			ws.CloseNow()
		}
	}))
	t.Cleanup(s.http.Close)
	return s
}

func (s *transcriber) config() string {
	return "[transcription]\nurl = \"ws" + strings.TrimPrefix(s.http.URL, "http") + "/r/{{MEETING_ID}}\"\n" +
		"headers = {Authorization = \"Bearer open\"}\nping_interval = \"100ms\"\nping_timeout = \"20s\"\n"
}

// connected waits for the bridge.
func (s *transcriber) connected() *transcription {
	s.w.t.Helper()
	select {
	case c := <-s.come:
		return c
	case <-s.w.ctx.Done():
		s.w.t.Fatal("the bridge does not connect to the service")
		return nil
	}
}

// until reads up to a message of an event, and answers pings.
func (c *transcription) until(event string, match func(*mediaJSON) bool) *mediaJSON {
	c.w.t.Helper()
	for {
		_, b, err := c.ws.Read(c.w.ctx)
		if err != nil {
			c.w.t.Fatalf("waiting for %s: %v", event, err)
		}
		var m mediaJSON
		c.w.must(json.Unmarshal(b, &m))
		if m.Event == "ping" {
			c.send(strings.Replace(string(b), "ping", "pong", 1))
		}
		if m.Event == event && (match == nil || match(&m)) {
			return &m
		}
	}
}

func (c *transcription) send(text string) {
	c.w.t.Helper()
	c.w.must(c.ws.Write(c.w.ctx, websocket.MessageText, []byte(text)))
}

// transcribe presses the button for subtitles.
func (w *world) transcribe(c *meettest.Client, on bool) {
	w.t.Helper()
	w.must(c.Send(xmpp.Message, "", "", c.Component("room_metadata"),
		`<room_metadata xmlns="http://jitsi.org/jitmeet" room="`+c.RoomJID(w.room).String()+`">`+
			`{"key":"recording","data":{"isTranscribingEnabled":`+strconv.FormatBool(on)+`}}</room_metadata>`))
}

// What is said goes to the service, and what that understood to everybody. One who is
// alone is transcribed as well.
func TestTranscriptionWithoutGateway(t *testing.T) {
	s := newTranscriber(t)
	w := newWorld(t, s.config())
	s.w = w
	a := w.join("Ann", nil)
	w.must(a.Until(w.ctx, "to moderate", a.Moderator))
	_, err := a.Expect(w.ctx, "to be told of the service", func(s *xmpp.Stanza) bool {
		told := s.Child("http://jitsi.org/jitmeet", "json-message")
		return told != nil && strings.Contains(told.Text, `"asyncTranscription":true`)
	})
	w.must(err)
	w.transcribe(a, true)
	recording := func(on string) {
		t.Helper()
		_, err := a.Expect(w.ctx, "that it is recorded: "+on, func(s *xmpp.Stanza) bool {
			for _, p := range s.Child("http://jitsi.org/protocol/focus", "conference-properties").Children("", "property") {
				if p.Get("key") == "audio-recording-enabled" && p.Get("value") == on {
					return s.From.Resource == "focus"
				}
			}
			return false
		})
		w.must(err)
	}
	recording("true")

	c := s.connected()
	if !strings.HasPrefix(c.path, "/r/") || len(c.path) < len("/r/")+8 || strings.Contains(c.path, "{") {
		t.Error("the service is not told which meeting it is:", c.path)
	}
	c.until("info", nil)
	start := c.until("start", nil)
	if p := start.Start; p.Tag != a.Nick()+"-a0" || p.CustomParameters.EndpointID != a.Nick() ||
		p.MediaFormat.Encoding != "opus" || p.MediaFormat.SampleRate != 48000 || p.MediaFormat.Channels != 2 {
		t.Errorf("%+v", p)
	}
	first := c.until("media", nil)
	if data, err := base64.StdEncoding.DecodeString(first.Media.Payload); err != nil || len(data) == 0 || first.Media.Tag != start.Start.Tag || first.Media.AudioLevel == nil {
		t.Errorf("%+v, %v", first.Media, err)
	}
	second := c.until("media", nil)
	if first.number(t, first.Media.Chunk)+1 != second.number(t, second.Media.Chunk) || first.number(t, first.Media.Timestamp)+960 != second.number(t, second.Media.Timestamp) ||
		first.number(t, first.SequenceNumber)+1 != second.number(t, second.SequenceNumber) {
		t.Errorf("%+v is not followed by %+v", first, second)
	}

	b := w.join("Bea", nil)
	c.until("start", func(m *mediaJSON) bool { return m.Start.Tag == b.Nick()+"-a0" })
	w.talk(a, b)
	c.send(`{ "event":"transcription-result", "type":"transcription-result", "transcript":[{"text":"grüß Gott"}], "participant":{"id":"` + a.Nick() + `"} }`)
	for _, who := range []*meettest.Client{a, b} {
		_, err := who.ExpectMessage(w.ctx, "EndpointMessage", func(raw json.RawMessage) bool {
			var m struct {
				From       string
				MsgPayload struct {
					Type       string
					Transcript []struct{ Text string }
				}
			}
			return json.Unmarshal(raw, &m) == nil && m.From == "transcriber" && m.MsgPayload.Type == "transcription-result" && m.MsgPayload.Transcript[0].Text == "grüß Gott"
		})
		w.must(err)
	}

	// The service is started anew: the bridge comes back and begins at the beginning.
	_ = c.ws.CloseNow()
	c = s.connected()
	if m := c.until("start", nil); m.SequenceNumber != "1" {
		t.Errorf("%+v", m)
	}
	w.transcribe(b, true) // who does not moderate has no say
	w.transcribe(b, false)
	w.must(b.Ping(w.ctx))
	c.until("media", nil)

	w.transcribe(a, false)
	c.until("session-end", nil)
	recording("false")
	w.talk(a, b)
}

func (m *mediaJSON) number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%q in %+v is no number", s, m)
	}
	return n
}
