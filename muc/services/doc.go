// Package services holds what a meeting offers beside the chat of its room. Each
// is a muc.RoomService: one value a room, on the room's goroutine.
//
// Rules of this package:
//   - Clients command a service by a message to its component's address; what
//     they say about themselves in it counts for nothing, the room looks the
//     sender up by its full real address (room-services.md §0 rule 6).
//   - A service speaks from its component's bare address, else clients queue the
//     message for ever (rule 5).
//   - What is sent to several is encoded once.
package services

import (
	"encoding/json"
	"strings"

	"confab/xmpp"
)

// jsonMessage encodes the one form in which components talk to clients. LJM
// passes the text through unescape() before it parses it, so percent signs must
// not appear in it.
func jsonMessage(room string, json []byte) string {
	var e xmpp.Enc
	e.Start("json-message", nsJitsi).AttrIf("room", room)
	return e.Text(withoutPercent(json)).End().String()
}

func withoutPercent(json []byte) string { return strings.ReplaceAll(string(json), "%", `\u0025`) }

// wireBytes is how long a value is in such a message: a quotation mark becomes seven
// bytes. What a room keeps for joiners is bounded by it, as a message that fills a
// joiner's queue ends its connection.
func wireBytes(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, booleans and finite numbers
	}
	var e xmpp.Enc
	return len(e.Text(withoutPercent(b)).String())
}

const nsJitsi = "http://jitsi.org/jitmeet"
