package extdisco

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"confab/xmpp"
)

// The id part of a session's usernames: a hash of its address, which it hides, and a
// proof that this list has made it for a session. So the ids of sessions can be told
// from those of everybody else who knows the shared secret, without a list of them.
const (
	hashSymbols  = 8 // 40 bits: two sessions that share one share a quota
	proofSymbols = 4 // 20 bits: an id of others passes once in a million
)

// ID is the id part of a session's usernames.
func (l *List) ID(session xmpp.JID) string {
	hash := l.symbols(session.String(), hashSymbols)
	if session.Local == "" {
		return hash // of no session, such as that of the HTTP interface
	}
	return hash + l.proof(hash)
}

// Made reports whether an id part was made for a session, of now or gone.
func (l *List) Made(id string) bool {
	return len(id) == hashSymbols+proofSymbols && hmac.Equal([]byte(id[hashSymbols:]), []byte(l.proof(id[:hashSymbols])))
}

func (l *List) proof(hash string) string { return l.symbols("session "+hash, proofSymbols) }

// symbols are the first n symbols of a keyed hash.
func (l *List) symbols(text string, n int) string {
	mac := hmac.New(sha256.New, l.sessionKey)
	mac.Write([]byte(text))
	return strings.ToLower(base32.StdEncoding.EncodeToString(mac.Sum(nil))[:n])
}
