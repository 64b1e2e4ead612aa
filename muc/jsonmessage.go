package muc

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"confab/xmpp"
)

// jsonAllowed checks the endpoint messages in a message: broken JSON is dropped
// silently, unless there is something to read beside it; only transcribers
// transcribe, and only the server speaks of the lobby.
func (r *Room) jsonAllowed(t *Seat, s *xmpp.Stanza, brokenToo bool) bool {
	if !strings.Contains(s.Inner, "json-message") {
		return true
	}
	for _, el := range s.Elements() {
		if el.Name != "json-message" {
			continue
		}
		if !json.Valid([]byte(el.Text)) && !brokenToo {
			return false
		}
		// LJM XMPP.tryParseJSONAndVerify passes the text through unescape().
		for _, text := range []string{el.Text, unescape(el.Text)} {
			switch messageType(text) {
			case "transcription-result", "translation-result":
				if !slices.Contains(r.sv.cfg.ServiceDomains, t.Real.Domain) {
					return false
				}
			case "lobby-notify":
				return false
			}
		}
	}
	return true
}

// messageType is the type of a JSON message, read as JavaScript does: keys differ by
// case, and the last of several counts.
func messageType(text string) string {
	var msg map[string]json.RawMessage
	var typ string
	if json.Unmarshal([]byte(text), &msg) != nil || json.Unmarshal(msg["type"], &typ) != nil {
		return ""
	}
	return typ
}

// unescape is JavaScript's: %xx and %uxxxx are code units (ECMA-262 §B.2.1.2).
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			at, n := i+1, 2
			if at < len(s) && s[at] == 'u' {
				at, n = at+1, 4
			}
			if at+n <= len(s) {
				if c, err := strconv.ParseUint(s[at:at+n], 16, 16); err == nil {
					b.WriteRune(rune(c))
					i = at + n - 1
					continue
				}
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
