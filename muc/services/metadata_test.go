package services

import (
	"encoding/json"
	"strings"
	"testing"

	"confab/muc"
	"confab/xmpp"
)

func TestSizeIsCounted(t *testing.T) {
	t.Parallel()
	m := NewMetadata(MetadataConfig{Flags: map[string]any{"allownersEnabled": true}})(nil).(*Metadata)
	if m.size != len("allownersEnabled")+len("true") {
		t.Fatal(m.size)
	}
	for range 3 {
		m.put("k", json.RawMessage(`"12345"`))
		m.put("k", json.RawMessage(`1`))
	}
	if m.size != len("allownersEnabled")+len("true")+2 {
		t.Fatal(m.size)
	}
}

func TestTooBig(t *testing.T) {
	t.Parallel()
	m := NewMetadata(MetadataConfig{Max: 16})(nil).(*Metadata)
	err := m.set(nil, "whiteboard", json.RawMessage(`"`+strings.Repeat("x", 20)+`"`))
	if se, ok := err.(*xmpp.StanzaError); !ok || se.Cond != xmpp.CondResourceConstraint || len(m.data) != 0 {
		t.Fatal(err, m.data)
	}
}

var (
	_ muc.Joining = (*Metadata)(nil)
	_ muc.Filter  = (*Metadata)(nil)
	_ muc.Command = (*Metadata)(nil)
)

// FuzzCommand: what is accepted is a key and a JSON value that isn't null, and
// what goes out carries no percent sign.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		`{"key":"startMuted","data":{"audio":true},"type":"room_metadata"}`, `{"key":"a","data":null}`, `{"key":1,"data":1}`,
		`{"data":1}`, `[]`, `{"key":"a","data":"%25"}`, `{"key":"a","data":[ 1 , "\u0000" ]}`, ``,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, data, err := parseCommand(text)
		if err != nil {
			return
		}
		if key == "" || !json.Valid(data) || string(data) == "null" {
			t.Fatalf("%q %q", key, data)
		}
		b, err := json.Marshal(map[string]json.RawMessage{key: data})
		if err != nil {
			t.Fatal(err)
		}
		src := jsonMessage("r@x", b)
		el, err := xmpp.ParseElement(src, xmpp.Limits{}, xmpp.Scope{})
		if err != nil || strings.Contains(src, "%") || !json.Valid([]byte(el.Text)) {
			t.Fatalf("%v: %s", err, src)
		}
	})
}

// FuzzFile: an entry of the list is small, has an id, and what goes out of it can
// be read.
func FuzzFile(f *testing.F) {
	for _, s := range []string{
		`{"fileId":"f1","fileName":"a%20.pdf","fileSize":9,"fileType":"pdf","timestamp":1764000000000}`, `{"fileId":1}`, `{"fileId":""}`,
		`{"fileId":"__proto__"}`, `{"fileId":"a","fileSize":1e999}`, `{"fileId":"a","fileSize":-1}`, `[]`, `null`, ``, "{\"fileId\":\"\\u0000\"}",
	} {
		f.Add(s)
	}
	svc := NewFileSharing(FileSharingConfig{Domain: "filesharing.meet.example"})(nil).(*FileSharing)
	f.Fuzz(func(t *testing.T, text string) {
		file, ok := parseFile(text)
		if !ok {
			return
		}
		if file.ID == "" || len(file.ID) > fileIDBytes || file.AuthorID+file.AuthorJID+file.AuthorName != "" {
			t.Fatalf("%+v", file)
		}
		s := svc.stanza(fileMessage{Event: "add", File: &file})
		el := s.Child(nsJitsi, "json-message")
		if el == nil || strings.Contains(el.Text, "%") || !json.Valid([]byte(el.Text)) {
			t.Fatalf("%v", s)
		}
	})
}
