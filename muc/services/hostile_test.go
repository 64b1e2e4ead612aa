package services_test

import (
	"strings"
	"testing"

	"confab/internal/meettest/roomworld"
	"confab/internal/meettest/script"
	"confab/muc"
)

// components are all that a client can write to.
var components = []string{
	"metadata", "avmoderation", "polls", "speakerstats", "conferenceduration", "endconference", "filesharing",
}

// malformed are payloads that no client sends, and right ones at the wrong place.
func malformed() (out []string) {
	const room = "r@conference.meet.example"
	jsons := []string{
		"", "{", "null", "[]", `""`, "0", "\x7f", `{}`, `{"type":"polls"}`, `{"key":"x"}`, `{"key":"","data":1}`, `{"key":1,"data":1}`,
		`{"key":"x","data":null}`, `{"key":"services","data":[]}`, `{"key":"__proto__","data":{}}`, `{"key":"recording","data":7}`,
		`{"key":"deep","data":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
		`{"key":"big","data":"` + strings.Repeat("x", 70000) + `"}`, `{"key":"` + strings.Repeat("k", 300) + `","data":1}`,
		`{"type":"polls","command":"new-poll"}`, `{"type":"polls","command":"new-poll","pollId":"","question":"q","answers":[{"name":"a"}]}`,
		`{"type":"polls","command":"new-poll","pollId":"p","question":7,"answers":[{"name":"a"}]}`,
		`{"type":"polls","command":"new-poll","pollId":"p","question":"q","answers":[]}`,
		`{"type":"polls","command":"new-poll","pollId":"p","question":"q","answers":{"0":{"name":"a"}}}`,
		`{"type":"polls","command":"new-poll","pollId":"p","question":"q","answers":[{}]}`,
		`{"type":"polls","command":"new-poll","pollId":"p","question":"q","answers":[{"name":null}]}`,
		`{"type":"polls","command":"new-poll","pollId":"p","question":"` + strings.Repeat("q", 1024) + `","answers":[{"name":"a"}]}`,
		`{"type":"polls","command":"new-poll","pollId":"p","question":"q","answers":[` + strings.Repeat(`{"name":""},`, 40) + `{"name":""}]}`,
		`{"type":"polls","command":"old-polls","polls":[{"pollId":"p"}]}`, `{"type":"polls","command":"answer-poll","pollId":"p","answers":[1]}`,
		`{"type":"polls","command":"answer-poll","pollId":"none","answers":[true]}`, `{"type":"speakerstats","users":{"aaaa1111":{}}}`,
		`{"type":"av_moderation","enabled":true,"mediaType":"audio"}`, `{"type":"conference_duration","created_timestamp":"0"}`,
	}
	for _, j := range jsons {
		text := strings.ReplaceAll(j, "<", "&lt;")
		for _, el := range []string{"json-message", "room_metadata", "av_moderation", "end_conference", "file-sharing"} {
			out = append(out, "<"+el+` xmlns="http://jitsi.org/jitmeet" room="`+room+`">`+text+"</"+el+">", "<"+el+">"+text+"</"+el+">")
		}
	}
	for _, file := range []string{`{"fileId":"f"}`, `{"fileId":"f","fileSize":1e999}`, `{"fileId":"` + strings.Repeat("f", 99) + `"}`, `{"fileId":{}}`, `7`} {
		for _, typ := range []string{"add", "remove", "list", ""} {
			out = append(out, `<file-sharing xmlns="http://jitsi.org/jitmeet" fileId="f" type="`+typ+`">`+file+`</file-sharing>`)
		}
	}
	for _, attr := range []string{
		"", `enable="true"`, `enable="true" mediaType=""`, `enable="" mediaType="audio"`, `enable="true" mediaType="AUDIO"`, `mediaType="audio"`,
		`jidToWhitelist="" mediaType="audio"`, `jidToWhitelist="r@conference.meet.example" mediaType="audio"`,
		`jidToWhitelist="` + room + `/aaaa1111" mediaType="audio"`, `jidToBlacklist="` + room + `/focus" mediaType="video"`,
		`room=""`, `room="@"`, `room="` + room + `/x"`, `room="nowhere@conference.meet.example"`, `room="` + room + `" silence="perhaps"`,
		`room="` + room + `" faceExpression="" timestamp="1" duration="1"`, `room="` + room + `" faceExpression="x" timestamp="1e400" duration="1"`,
		`room="` + room + `" faceExpression="` + strings.Repeat("x", 99) + `" timestamp="1" duration="1"`,
	} {
		for _, el := range []string{"av_moderation", "end_conference", "faceLandmarks", "room_metadata", "json-message", "visitors"} {
			out = append(out, "<"+el+" "+attr+"/>", "<"+el+` xmlns="http://jitsi.org/jitmeet" `+attr+"/>")
		}
	}
	return append(out, "", "<body>hello</body>", "<subject/>", strings.Repeat("<a>", 60)+strings.Repeat("</a>", 60))
}

// A participant who writes every kind of nonsense to every component, in every kind
// of stanza, is not noticed by anybody else in the room.
func TestHostileOccupant(t *testing.T) {
	t.Parallel()
	roomworld.Both(t, func(t *testing.T, webSocket bool) {
		w, _ := all(t, webSocket)
		in := func(name, nick string) script.Conn {
			c, err := w.Dial(name)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Send(`<presence to="r@conference.meet.example/` + nick + `"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
			return c
		}
		focus, moderator, other, hostile := in("F", "focus"), in("1", "aaaa1111"), in("2", "bbbb2222"), in("3", "cccc3333")
		_ = focus.Send(`<iq type="set" id="g" to="r@conference.meet.example"><query xmlns="http://jabber.org/protocol/muc#admin"><item affiliation="owner" jid="u1@meet.example"/></query></iq>`)
		_ = moderator.Send(`<message to="avmoderation.meet.example"><av_moderation enable="true" mediaType="audio"/></message>`)
		empty := func(c script.Conn) (n int) {
			for {
				x, err := c.Receive()
				if err != nil {
					t.Fatal(err)
				}
				if x == "" {
					return n
				}
				n++
			}
		}
		for _, c := range []script.Conn{focus, moderator, other, hostile} {
			if empty(c) == 0 {
				t.Fatal("not in the room")
			}
		}
		sent := 0
		for _, component := range components {
			for n, payload := range malformed() {
				for i, open := range []string{`message `, `message type="chat" `, `message type="groupchat" `, `message type="error" `, `iq type="set" id="x" `, `iq type="get" id="x" `, `presence `} {
					if webSocket && i > 0 && i != 1+n%6 {
						continue // it takes longer: the usual kind and another
					}
					name, _, _ := strings.Cut(open, " ")
					if err := hostile.Send("<" + open + `to="` + component + `.meet.example">` + payload + "</" + name + ">"); err != nil {
						t.Fatal(err)
					}
					sent++
				}
			}
			empty(hostile)
		}
		for who, c := range map[string]script.Conn{"focus": focus, "moderator": moderator, "participant": other} {
			if x, _ := c.Receive(); x != "" {
				t.Errorf("the %s got %s", who, x)
			}
		}
		if w.Main.Stats().Panics != 0 || sent < 10000 && !webSocket {
			t.Error(w.Main.Stats(), sent)
		}
		// What is right still works.
		_ = moderator.Send(`<message to="endconference.meet.example"><end_conference/></message>`)
		if x, _ := other.Receive(); !strings.Contains(x, muc.TextTerminated) {
			t.Error(x)
		}
	})
}
