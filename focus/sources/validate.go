package sources

import (
	"fmt"
	"slices"
	"strings"

	"confab/xmpp/xep/jingle"
)

// The texts are jicofo's, by which operators know them (focus.md §9.4).
var (
	errNoGroup      = &Error{"ssrc-group does not exist"}
	errFID          = &Error{"Invalid FID group"}
	errUnsignaled   = &Error{"ssrc-group contains an SSRC that hasn't been signaled"}
	errMSIDRequired = &Error{"Required source parameter 'msid' is missing"}
	errMSIDs        = &Error{"Sources of a group have different MSIDs"}
	errTwice        = &Error{"ssrc-group contains an SSRC twice"}
)

func errTooManySources(n int) error { return &Error{fmt.Sprintf("SSRC limit (%d) exceeded", n)} }
func errTooManyGroups(n int) error  { return &Error{fmt.Sprintf("ssrc-group limit (%d) exceeded", n)} }
func errNotOwned(ssrc uint32) error {
	return &Error{fmt.Sprintf("SSRC %d is not one of the sender's", ssrc)}
}

func (m *Map) checkSource(owner string, src Source, next Set) error {
	if src.SSRC == 0 {
		return &Error{"Invalid SSRC"}
	}
	if _, taken := m.ssrcs[src.SSRC]; taken || next.source(src.SSRC) != nil {
		return &Error{fmt.Sprintf("SSRC %d is already used", src.SSRC)}
	}
	if o, taken := m.msids[src.MSID]; taken && o != owner {
		return &Error{fmt.Sprintf("MSID %.80q is already used", src.MSID)}
	}
	// Receivers trust the owner in a name: nobody may speak for another.
	if rest, ok := strings.CutPrefix(src.Name, owner+"-"); !ok || !sourceIndex(rest) {
		return &Error{fmt.Sprintf("Source name %.80q is not one of the sender's", src.Name)}
	}
	if len(src.Name) > maxText || len(src.MSID) > maxText {
		return &Error{"Source name or MSID is too long"}
	}
	for i := range next.Sources {
		if n := &next.Sources[i]; n.Name == src.Name && n.Media != src.Media {
			return &Error{fmt.Sprintf("Source name %.80q is used for two media", src.Name)}
		}
	}
	return nil
}

// sourceIndex reports whether s is what follows the owner in a source name, as LJM
// reads it: a0, v1, a0.en. Without that "ab" could speak for an endpoint "ab-c".
func sourceIndex(s string) bool {
	if s == "" || s[0] != 'a' && s[0] != 'v' {
		return false
	}
	digits, _, _ := strings.Cut(s[1:], ".")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// maxText bounds names and msids, which every receiver gets.
const maxText = 256

// check tests the rules that hold within a set: groups have sources and one msid
// each, and within one media type different tracks have different msids. A track
// is a source alone, or sources tied together by groups.
func (s Set) check() error {
	track := make(map[uint32]uint32, len(s.Sources)) // SSRC → first SSRC of its track
	for _, src := range s.Sources {
		track[src.SSRC] = src.SSRC
	}
	root := func(ssrc uint32) uint32 {
		for track[ssrc] != ssrc {
			ssrc = track[ssrc]
		}
		return ssrc
	}
	paired := map[uint32]bool{}
	for _, g := range s.Groups {
		if g.Semantics == jingle.FID && len(g.SSRCs) != 2 {
			return errFID
		}
		for i, ssrc := range g.SSRCs {
			src := s.source(ssrc)
			switch {
			case src == nil || src.Media != g.Media:
				return errUnsignaled
			case slices.Contains(g.SSRCs[:i], ssrc):
				return errTwice // also bounds the length of a group
			case src.MSID == "":
				return errMSIDRequired
			case src.MSID != s.source(g.SSRCs[0]).MSID:
				return errMSIDs
			}
			track[root(ssrc)] = root(g.SSRCs[0])
		}
		if g.Semantics == jingle.FID {
			if paired[g.SSRCs[0]] || paired[g.SSRCs[1]] {
				return errFID // LJM takes one retransmission to a source
			}
			paired[g.SSRCs[0]], paired[g.SSRCs[1]] = true, true
		}
	}
	type key struct {
		m    Media
		msid string
	}
	of := map[key]uint32{}
	for _, src := range s.Sources {
		if src.MSID == "" {
			continue
		}
		k := key{src.Media, src.MSID}
		if other, ok := of[k]; ok && other != root(src.SSRC) {
			return &Error{fmt.Sprintf("MSID %.80q is already used", src.MSID)}
		}
		of[k] = root(src.SSRC)
	}
	return nil
}
