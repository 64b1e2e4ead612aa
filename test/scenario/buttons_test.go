package scenario

import (
	"encoding/json"
	"strings"
	"testing"

	"mellium.im/sasl"
	mellium "mellium.im/xmpp"

	"confab/internal/meettest"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// silent is a client that only signals.
func silent(o *meettest.Options) { o.Silent = true }

// command sends one to the component of that identity.
func (w *world) command(c *meettest.Client, component, typ, inner string) {
	w.t.Helper()
	address := c.Component(component)
	if address == "" {
		w.t.Fatalf("%s is not told where %s is", c.Nick(), component)
	}
	w.must(c.Send(xmpp.Message, typ, "", address, inner))
}

// told waits for a JSON message of a component and reads it.
func (w *world) told(c *meettest.Client, component, holds string, to any) {
	w.t.Helper()
	var text string
	_, err := c.Expect(w.ctx, holds+" of "+component, func(s *xmpp.Stanza) bool {
		el := s.Child(jitmeet.NS, "json-message")
		if el == nil || s.From.String() != c.Component(component) || !strings.Contains(el.Text, holds) {
			return false
		}
		text = el.Text
		return true
	})
	w.must(err)
	w.must(json.Unmarshal([]byte(text), to))
}

// refused waits for the error to a command.
func (w *world) refused(c *meettest.Client, component, cond string) {
	w.t.Helper()
	_, err := c.Expect(w.ctx, "an error of "+component, func(s *xmpp.Stanza) bool {
		return s.Kind == xmpp.Message && s.Type == xmpp.TypeError && s.From.String() == c.Component(component) && s.ErrorOf().Cond == cond
	})
	w.must(err)
}

const pollMessage = `<json-message xmlns="http://jitsi.org/jitmeet">{"type":"polls","pollId":"p1",`

// Two people hold a poll beside a plain client, a third comes later and sees how it
// went and who has spoken how long; then the moderator, and nobody else, ends the
// meeting for all.
func TestPollSpeakersAndTheEnd(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", silent), w.join("Bea", silent)
	p := w.plain(w.Domain, mellium.SASL("", "", sasl.Anonymous))
	p.join("Pat")
	w.must(a.Until(w.ctx, "to be moderator", a.Moderator))

	w.command(b, "polls", "chat", pollMessage+`"command":"new-poll","question":"Lunch?","answers":[{"name":"Pizza"},{"name":"Soup"}]}</json-message>`)
	var poll struct {
		SenderID string `json:"senderId"`
		Polls    []struct {
			SenderID string `json:"senderId"`
			Answers  []struct {
				Name   string
				Voters []struct{ ID, Name string }
			}
		}
	}
	for _, c := range []*meettest.Client{a, b} {
		if w.told(c, "polls", "new-poll", &poll); poll.SenderID != b.Nick() {
			t.Errorf("%s hears of a poll of %s", c.Nick(), poll.SenderID)
		}
	}
	w.command(a, "polls", "chat", pollMessage+`"command":"answer-poll","answers":[true,false]}</json-message>`)
	if w.told(b, "polls", "answer-poll", &poll); poll.SenderID != a.Nick() {
		t.Error("voted by", poll.SenderID)
	}
	w.command(b, "polls", "chat", pollMessage+`"command":"answer-poll","answers":[true]}</json-message>`)
	w.refused(b, "polls", xmpp.CondBadRequest)
	w.command(a, "speakerstats", "", `<speakerstats xmlns="http://jitsi.org/jitmeet" room="`+a.RoomJID(w.room).String()+`" silence="false"/>`)

	c := w.join("Cem", silent)
	w.told(c, "polls", "old-polls", &poll)
	if len(poll.Polls) != 1 || len(poll.Polls[0].Answers) != 2 || len(poll.Polls[0].Answers[0].Voters) != 1 || poll.Polls[0].Answers[0].Voters[0].Name != "Ann" {
		t.Errorf("%+v", poll)
	}
	var speakers struct {
		Users map[string]struct{ TotalDominantSpeakerTime int }
	}
	w.told(c, "speakerstats", "speakerstats", &speakers)
	if _, spoke := speakers.Users[a.Nick()]; !spoke || len(speakers.Users) != 1 {
		t.Errorf("%+v", speakers)
	}
	var duration struct {
		Created string `json:"created_timestamp"`
	}
	if w.told(c, "conference_duration", "created_timestamp", &duration); len(duration.Created) != 13 {
		t.Errorf("%+v", duration)
	}
	p.say("still here")
	_, err := a.ExpectChat(w.ctx, "still here")
	w.must(err)

	w.command(b, "end_conference", "", "<end_conference/>")
	w.refused(b, "end_conference", xmpp.CondForbidden)
	w.command(a, "end_conference", "", "<end_conference/>")
	for _, x := range []*meettest.Client{a, b, c} {
		w.must(x.Until(w.ctx, "the end", x.Gone))
	}
	p.waits(false)
}

// What is switched off is not announced, and its address answers nobody.
func TestSwitchedOff(t *testing.T) {
	w := newWorld(t, "[rooms]\npolls = false\nav_moderation = false\nend_for_all = false\n")
	a := w.join("Ann", silent)
	for _, typ := range []string{"polls", "av_moderation", "end_conference"} {
		if at := a.Component(typ); at != "" {
			t.Errorf("%s is announced at %s", typ, at)
		}
	}
	w.must(a.Send(xmpp.Message, "", "e", "endconference."+w.Domain, "<end_conference/>"))
	s, err := a.Expect(w.ctx, "an error", func(s *xmpp.Stanza) bool { return s.Type == xmpp.TypeError && s.ID == "e" })
	w.must(err)
	if s.ErrorOf().Cond != xmpp.CondServiceUnavailable {
		t.Error(s)
	}
	if a.Gone() {
		t.Error("ended all the same")
	}
}
