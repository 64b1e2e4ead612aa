package policy

import (
	"slices"
	"strings"
	"unicode"

	"confab/muc"
	"confab/xmpp"
)

// Nick decides about nicknames. The nick "focus" belongs to the focus's account,
// also before it has come.
type Nick struct {
	Restrict bool // only letters, digits and underscores (muc_resource_validate)
	Meeting  bool // nicks are endpoint ids
}

// jvb is the owner of the bridge's own sources: as an endpoint id it would mix
// those of a participant with them.
const jvb = "jvb"

// Name implements muc.Stage.
func (Nick) Name() string { return "nick" }

// Join implements muc.Stage.
func (n Nick) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if strings.EqualFold(j.Nick, "focus") && !j.Focus(r) || n.Meeting && j.Nick == jvb {
		err := xmpp.Conflict("")
		err.By = r.JID().String()
		return muc.Refuse(err)
	}
	if j.Admin {
		return muc.Pass
	}
	if n.Restrict && !conforms(j.Nick) {
		if !j.Client.Stream {
			return muc.Refuse(xmpp.NotAllowed("Invalid resource"))
		}
		// A person behind a plain XMPP client keeps the name that Jitsi clients show
		// (room-services.md §5.7).
		j.Rename(free(r, j, conforming(j.Nick)))
		return muc.Pass
	}
	if !visible(j.Nick) {
		return muc.Refuse(xmpp.NotAllowed("Invisible Nicknames are forbidden"))
	}
	return muc.Pass
}

// conforms is ^[a-zA-Z0-9][a-zA-Z0-9_]*$.
func conforms(nick string) bool {
	for i := 0; i < len(nick); i++ {
		c := nick[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' && i > 0) {
			return false
		}
	}
	return nick != ""
}

func visible(nick string) bool {
	return strings.ContainsFunc(nick, func(c rune) bool { return unicode.IsGraphic(c) && !unicode.IsSpace(c) })
}

// maxNick is the length of an assigned nick.
const maxNick = 32

// conforming makes a nick that conforms out of one that doesn't.
func conforming(nick string) string {
	var b strings.Builder
	for _, c := range nick {
		switch {
		case b.Len() >= maxNick:
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0:
			b.WriteByte('_')
		}
	}
	if out := strings.TrimRight(b.String(), "_"); out != "" && out != jvb && !strings.EqualFold(out, "focus") {
		return out
	}
	return "guest"
}

// free is nick, with a number if somebody else has it.
func free(r *muc.Room, j *muc.Join, nick string) string {
	for i := 0; ; i++ {
		try := nick
		if i > 0 {
			try += "_" + itoa(i+1)
		}
		if !held(r, try, j) && !slices.ContainsFunc(r.Inside(), func(in *muc.Room) bool { return held(in, try, j) }) {
			return try
		}
	}
}

// held reports whether somebody else has a nick in a room.
func held(r *muc.Room, nick string, j *muc.Join) bool {
	o := r.Occupant(nick)
	return o != nil && o.Bare() != j.Real.Bare()
}
