// Package sources is the book of all media sources of a conference: who sends
// which SSRCs, whether a change is allowed, and what each receiver is told.
//
// Rules of this package:
//   - It is pure: no XMPP, no time, no goroutines. A Map belongs to one conference
//     and is used on its goroutine only.
//   - A change is all or nothing; a refused one leaves no trace.
//   - Owners are endpoint ids, not addresses.
package sources

import "confab/xmpp/xep/jingle"

// Bridge is the owner of the bridge's own placeholder sources.
const Bridge = "jvb"

// Media is a media type.
type Media uint8

// The two media types.
const (
	Audio Media = iota
	Video
)

// String is the name of the media type in Jingle.
func (m Media) String() string {
	if m == Audio {
		return jingle.Audio
	}
	return jingle.Video
}

// MediaOf is the media type of that name.
func MediaOf(name string) (Media, bool) {
	switch name {
	case jingle.Audio:
		return Audio, true
	case jingle.Video:
		return Video, true
	}
	return 0, false
}

// Limits bound what one endpoint may have.
type Limits struct {
	Sources int // SSRCs (focus.max_sources_per_user)
	Groups  int
}

// Error refuses a change. Its text is public; it goes to the client as
// bad-request.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }
