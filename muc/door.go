package muc

import (
	"strings"

	"confab/xmpp"
)

// LobbyService is the name of the service before which people wait, and the type of
// the identity by which clients find it.
const LobbyService = "lobbyrooms"

// IsHost reports whether somebody may begin a meeting that waits for its host: logged
// in with the account of one, with a token, or made an owner, as the focus does with
// who pressed "I am the host" (focus.md §22). Which domain one is on proves nothing.
func (r *Room) IsHost(bare xmpp.JID, c Client) bool {
	p := r.policy
	p.AllModerators = false
	return c.Host || c.Claims != nil || r.Affiliation(bare) == AffOwner || p.Standing(bare, "") == AffOwner
}

// ID is the user's id in a verified token, or "".
func (c Client) ID() string {
	if c.Claims == nil {
		return ""
	}
	return c.Claims.User["id"]
}

// Named reports whether the joiner says a name.
func (j *Join) Named() bool {
	el := j.Stanza.Child(NSNick, "nick")
	return el != nil && strings.TrimSpace(el.Text) != ""
}

// NameRequired makes a stock client ask its user for a name; lobby says in which of
// its screens (LJM: DISPLAY_NAME_REQUIRED).
func NameRequired(lobby bool) *xmpp.StanzaError {
	err := xmpp.NotAcceptable("")
	err.Code = "406"
	var e xmpp.Enc
	e.Start("displayname-required", NSJitsi)
	if lobby {
		e.Attr("lobby", "true")
	}
	err.App = e.End().String()
	return err
}
