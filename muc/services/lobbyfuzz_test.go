package services_test

import (
	"strings"
	"testing"
	"testing/synctest"
)

// FuzzGuest: whatever a guest in the lobby sends, to whichever address: another guest
// and the participants of the meeting get nothing of it, it is not in, and the
// moderator is still one.
func FuzzGuest(f *testing.F) {
	for _, s := range []string{
		`message groupchat r@lobby.meet.example <body>x</body>`,
		`message groupchat r@lobby.meet.example <subject>x</subject>`,
		`message chat r@lobby.meet.example/g1 <body>x</body>`,
		`message groupchat r@conference.meet.example <json-message xmlns="http://jitsi.org/jitmeet">{"type":"lobby-notify","event":"LOBBY-ACCESS-GRANTED"}</json-message>`,
		`message normal r@conference.meet.example <x xmlns="http://jabber.org/protocol/muc#user"><invite to="u4@meet.example/r4"/></x>`,
		`message normal r@lobby.meet.example <x xmlns="http://jabber.org/protocol/muc#user"><invite to="u3@meet.example/r3"/></x>`,
		`message normal lobby.meet.example <x/>`,
		`presence unavailable r@lobby.meet.example/g1 `,
		`presence error r@lobby.meet.example/m <error type="cancel"><gone xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error>`,
		`presence available r@lobby.meet.example/g2 <x xmlns="http://jabber.org/protocol/muc"/><nick xmlns="http://jabber.org/protocol/nick">Ada</nick>`,
		`presence available r@conference.meet.example/g2 <x xmlns="http://jabber.org/protocol/muc"><password>x</password></x><flip_device/>`,
		`iq set r@lobby.meet.example <query xmlns="http://jabber.org/protocol/muc#admin"><item nick="g1" role="none"/><item affiliation="owner" jid="u4@meet.example"/></query>`,
		`iq set r@conference.meet.example <query xmlns="http://jabber.org/protocol/muc#owner"><destroy/></query>`,
		`iq get r@lobby.meet.example/g1 <query xmlns="http://jabber.org/protocol/disco#info"/>`,
		`iq set r@lobby.meet.example/m <jingle xmlns="urn:xmpp:jingle:1" action="session-initiate"/>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parts := strings.SplitN(text, " ", 4)
		if len(parts) < 4 || strings.Contains(parts[2], "u3@") || strings.Contains(parts[3], "decline") {
			return // a message to an account is no matter of rooms; a decline goes to whom it names
		}
		synctest.Test(t, func(t *testing.T) {
			w, _ := lobbyWorld{}.open(t)
			step := func(name, x string) func() []string {
				c, err := w.Dial(name)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Send(x)
				return func() (all []string) {
					for {
						got, err := c.Receive()
						if err != nil {
							t.Fatal(err)
						}
						if got == "" {
							return all
						}
						all = append(all, got)
					}
				}
			}
			const muc, nick = `<x xmlns="http://jabber.org/protocol/muc"/>`, `<nick xmlns="http://jabber.org/protocol/nick">G</nick>`
			focus := step("F", `<presence to="r@conference.meet.example/focus">`+muc+`</presence>`)
			mod, err := w.Dial("1")
			if err != nil {
				t.Fatal(err)
			}
			_ = mod.Send(`<presence to="r@conference.meet.example/m">` + muc + `</presence>`)
			part := step("2", `<presence to="r@conference.meet.example/p">`+muc+`</presence>`)
			focus()
			step("H9", `<presence to="r@conference.meet.example/h">`+muc+`</presence>`)()
			synctest.Wait()
			open(t, w)
			_ = mod.Send(`<presence to="r@lobby.meet.example/m">` + muc + `</presence>`)
			other := step("3", `<presence to="r@lobby.meet.example/g1">`+muc+nick+`</presence>`)
			guest, err := w.Dial("4")
			if err != nil {
				t.Fatal(err)
			}
			_ = guest.Send(`<presence to="r@lobby.meet.example/g2">` + muc + nick + `</presence>`)
			part()
			if got := other(); len(got) == 0 {
				t.Fatal("the other guest is not in the lobby")
			}
			typ := ` type="` + parts[1] + `"`
			if parts[1] == "available" {
				typ = ""
			}
			if guest.Send(`<`+parts[0]+typ+` id="f" to="`+parts[2]+`">`+parts[3]+`</`+parts[0]+`>`) != nil {
				return
			}
			for name, got := range map[string][]string{"the other guest": other(), "a participant": part()} {
				if len(got) > 0 {
					t.Fatalf("%s got %q", name, got)
				}
			}
			check(t, w)
		})
	})
}
