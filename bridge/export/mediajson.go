package export

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"

	"confab/bridge/forward"
	"confab/bridge/rtpx"
)

// Messages of mediajson (bridge.md §21): JSON objects told apart by "event".
// Numbers that stem from the format's first users are strings.

// maxStreams bounds what is remembered of streams; past it all are announced anew.
const maxStreams = 1024

// serializer numbers the messages of one connection and puts the streams of a
// conference on one clock.
type serializer struct {
	began   int64 // packet clock of the first packet, ns
	seq     int
	streams map[uint32]*stream // by SSRC
	out     []byte             // scratch
}

// stream is one that was announced.
type stream struct {
	tag    []byte // name of the source, as JSON
	format string
	number rtpx.Unwrapper
	ts     int64 // the newest timestamp, unwrapped
	offset int64 // from that to the clock of the conference
}

func newSerializer() *serializer { return &serializer{streams: map[uint32]*stream{}} }

// next begins a message of an event with a number.
func (s *serializer) next(event string) []byte {
	s.seq++
	b := append(s.out[:0], `{"event":"`...)
	b = append(b, event...)
	b = append(b, `","sequenceNumber":"`...)
	b = strconv.AppendInt(b, int64(s.seq), 10)
	return append(b, '"')
}

// start announces the stream of a packet if it is new or has another format; nil if
// it is known.
func (s *serializer) start(h *forward.Heard, diarize func(endpoint string) bool) []byte {
	st := s.streams[h.SSRC]
	if st != nil && st.format == h.Format {
		return nil
	}
	if len(s.streams) >= maxStreams {
		clear(s.streams)
	}
	if s.began == 0 {
		s.began = h.Packet.Arrived
	}
	if st == nil {
		st = &stream{tag: quote(h.Source)}
		s.streams[h.SSRC] = st
	}
	st.format, st.ts = h.Format, int64(h.TS)
	st.offset = int64(float64(h.Packet.Arrived-s.began)*float64(h.ClockRate)/1e9) - st.ts

	b := append(s.next("start"), `,"start":{"tag":`...)
	b = append(append(b, st.tag...), `,"mediaFormat":{"encoding":`...)
	b = append(append(b, quote(h.Format)...), `,"sampleRate":`...)
	b = strconv.AppendUint(b, uint64(h.ClockRate), 10)
	b = append(b, `,"channels":`...)
	b = strconv.AppendInt(b, channels(h.Format), 10)
	b = append(b, `,"parameters":{}},"customParameters":{"endpointId":`...)
	b = append(append(b, quote(h.Endpoint)...), '}')
	if diarize(h.Endpoint) {
		b = append(b, `,"diarize":true`...)
	}
	s.out = append(b, `}}`...)
	return s.out
}

// channels is how many a format has by its definition.
func channels(format string) int64 {
	if format == "opus" {
		return 2 // RFC 7587 §7
	}
	return 1
}

// media is a packet of a stream that was announced.
func (s *serializer) media(h *forward.Heard) []byte {
	st := s.streams[h.SSRC]
	ts := st.ts + int64(int32(h.TS-uint32(st.ts)))
	st.ts = max(st.ts, ts)

	b := append(s.next("media"), `,"media":{"tag":`...)
	b = append(append(b, st.tag...), `,"chunk":"`...)
	b = strconv.AppendInt(b, st.number.Unwrap(h.Number), 10)
	b = append(b, `","timestamp":"`...)
	b = strconv.AppendInt(b, ts+st.offset, 10)
	b = append(b, `","payload":"`...)
	b = base64.StdEncoding.AppendEncode(b, h.Data)
	b = append(b, '"')
	if h.HasLevel {
		b = append(b, `,"audioLevel":`...)
		b = strconv.AppendUint(b, uint64(h.Level), 10)
		b = append(b, `,"vad":`...)
		b = strconv.AppendBool(b, h.Voice)
	}
	s.out = append(b, `}}`...)
	return s.out
}

// quote is s as JSON.
func quote(s string) []byte {
	b, _ := json.Marshal(s) // a string always can be
	return b
}

// encode is a message that is rare.
func encode(v any) []byte {
	b, _ := json.Marshal(v) // of the types below, which always can be
	return b
}

type sourcesMessage struct {
	Event    string   `json:"event"`
	Exports  []string `json:"exports"`
	Requests []string `json:"requests"`
}

type infoMessage struct {
	Event       string `json:"event"`
	Application string `json:"application"`
	Version     string `json:"version"`
	Region      string `json:"region,omitempty"`
}

type pingMessage struct {
	Event string `json:"event"`
	ID    int    `json:"id"`
}

type endMessage struct {
	Event string `json:"event"`
}

// Events that are understood.
const (
	eventPing       = "ping"
	eventPong       = "pong"
	eventInfo       = "info"
	eventTranscript = "transcription-result"
	eventMedia      = "media"
	eventStart      = "start"
	eventStop       = "stop"
)

// message is one of the service.
type message struct {
	event string
	id    int    // of a ping or a pong
	raw   []byte // of a transcript, without white space

	tag       string // name of a source
	chunk, ts int64
	timed     bool // ts is there
	payload   []byte
}

// number is one that may stand in quotation marks.
type number int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseInt(string(bytes.Trim(b, `"`)), 10, 64)
	*n = number(v)
	return err
}

var errMessage = errors.New("not a mediajson message")

// parse reads a message of the service.
func parse(b []byte) (message, error) {
	var in struct {
		Event string `json:"event"`
		ID    int    `json:"id"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return message{}, err
	}
	if in.Event == "" {
		return message{}, errMessage
	}
	m := message{event: in.Event, id: in.ID}
	switch m.event {
	case eventMedia:
		var in struct {
			Media struct {
				Tag       string `json:"tag"`
				Chunk     number `json:"chunk"`
				Timestamp number `json:"timestamp"`
				Payload   []byte `json:"payload"`
			} `json:"media"`
		}
		if err := json.Unmarshal(b, &in); err != nil {
			return message{}, err
		}
		m.tag, m.chunk, m.ts, m.payload = in.Media.Tag, int64(in.Media.Chunk), int64(in.Media.Timestamp), in.Media.Payload
	case eventStart, eventStop:
		type change struct {
			Tag       string  `json:"tag"`
			Timestamp *number `json:"timestamp"`
		}
		var in struct {
			Start change `json:"start"`
			Stop  change `json:"stop"`
		}
		if err := json.Unmarshal(b, &in); err != nil {
			return message{}, err
		}
		at := in.Start
		if m.event == eventStop {
			at = in.Stop
		}
		if m.tag = at.Tag; at.Timestamp != nil {
			m.ts, m.timed = int64(*at.Timestamp), true
		}
	case eventTranscript:
		var out bytes.Buffer
		if err := json.Compact(&out, b); err != nil {
			return message{}, err
		}
		m.raw = out.Bytes()
	}
	return m, nil
}
