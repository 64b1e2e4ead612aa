package whiteboard

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzPayload: what is read can be written, and reads the same again.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		"4{}", "2\x1e4abc\x1ebAQI=", "1:2", "6:40äöü𝄞", "10:b4AQIDBAUG", "\x00\x02\xff40\x01\x03\xff\x04ab", "b", "b4", "0:", "99999999999:x",
		"\x00\xff", "\x01\x01\xff", "2:\xff\xff",
	} {
		f.Add(s, 3, true)
		f.Add(s, 3, false)
		f.Add(s, 4, false)
	}
	f.Fuzz(func(t *testing.T, s string, version int, raw bool) {
		packets, err := decodePayload(version, raw, []byte(s))
		if err != nil {
			return
		}
		if len(packets) == 0 || len(packets) > maxPackets {
			t.Fatal(len(packets))
		}
		again, err := decodePayload(version, false, encodePayload(version, packets))
		if err != nil && version == 4 && strings.Contains(s, separator) {
			t.Fatal(err)
		}
		if err != nil || len(again) != len(packets) {
			t.Fatalf("%q: %v %v", s, again, err)
		}
		for i, p := range packets {
			if q := again[i]; p.typ != q.typ || p.text != q.text || string(p.bin) != string(q.bin) || p.binary != q.binary {
				t.Fatalf("%q: %+v and %+v", s, p, q)
			}
		}
	})
}

// FuzzPacket: no text makes the reader do more than its length allows, and an event
// has arguments that are JSON.
func FuzzPacket(f *testing.F) {
	for _, s := range []string{
		`2["join-room","r"]`, `52-["server-broadcast","r",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`,
		`0{"token":"x"}`, `0/admin?x=1,{}`, `212["x"]`, `5-[]`, `5999999999999-[]`, `2/,["x"]`, `2[1]`, `2["x",`, ``, `9`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePacket(s)
		if err != nil {
			return
		}
		if p.attachments > maxAttachments || len(p.json) > len(s) || !strings.HasPrefix(p.namespace, "/") {
			t.Fatalf("%+v", p)
		}
		e, err := parseEvent(p.json)
		if err != nil {
			return
		}
		for i, a := range e.args {
			if !json.Valid(a) {
				t.Fatalf("%q", a)
			}
			if text, ok := e.text(i); ok && !utf8.ValidString(text) {
				t.Fatalf("%q", text)
			}
			e.attached(i, 0)
		}
	})
}

// FuzzBoard: metadata is anything that a moderator sends.
func FuzzBoard(f *testing.F) {
	for _, s := range []string{
		`{"collabDetails":{"roomId":"standup","roomKey":"k"},"collabServerUrl":"https://meet.example/?room=0cc175b9c0f1b6a831c399e269772661"}`,
		`{"collabDetails":{"roomId":7}}`, `[]`, `"x"`, `{"collabServerUrl":"%"}`, `{"collabDetails":{"roomId":"x"},"collabServerUrl":"?room="}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if b, ok := ParseBoard([]byte(s)); ok && (b.Param == "" || b.Room == "" || len(b.Param) > nameBytes || len(b.Room) > nameBytes) {
			t.Fatalf("%+v", b)
		}
	})
}

func TestParseBoard(t *testing.T) {
	t.Parallel()
	b, ok := ParseBoard([]byte(`{"collabDetails":{"roomId":"standup","roomKey":"k"},"collabServerUrl":"https://meet.example/?x=1&room=0cc1"}`))
	if !ok || b != (Board{"", "0cc1", "standup"}) {
		t.Fatal(b, ok)
	}
}
