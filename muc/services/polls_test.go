package services

import (
	"encoding/json"
	"strings"
	"testing"

	"confab/xmpp"
)

// FuzzPoll: what is accepted is a poll with answers or a vote, and goes out as JSON
// without a percent sign.
func FuzzPoll(f *testing.F) {
	for _, s := range []string{
		`{"type":"polls","command":"new-poll","pollId":"p1","question":"Lunch?","answers":[{"name":"Pizza"},{"name":"100%25"}]}`,
		`{"type":"polls","command":"answer-poll","pollId":"p1","answers":[true,false]}`,
		`{"type":"polls","command":"answer-poll","pollId":"p1","answers":[null]}`,
		`{"type":"polls","command":"new-poll","pollId":"p1","question":"","answers":{}}`,
		`{"type":"polls","command":"new-poll","pollId":1,"answers":[[[[]]]]}`, `[]`, `null`, ``,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parsePoll(text)
		if err != nil {
			return
		}
		if c.ID == "" || (c.Command == "new-poll") == (len(c.choices) == 0) || (c.Command == "answer-poll") == (len(c.votes) == 0) {
			t.Fatalf("%+v", c)
		}
		p := &Polls{from: xmpp.JID{Domain: "polls.x"}}
		s := p.stanza(poll{ID: c.ID, Question: c.Question, Answers: c.choices})
		el := s.Child(nsJitsi, "json-message")
		if el == nil || strings.Contains(s.Inner, "%") || !json.Valid([]byte(el.Text)) {
			t.Fatal(s.Inner)
		}
	})
}
