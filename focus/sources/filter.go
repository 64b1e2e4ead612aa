package sources

import (
	"slices"

	"confab/xmpp/xep/jingle"
)

// Receiver is what a receiver can be told about.
type Receiver struct{ Audio, Video bool }

// For is s as it is signalled to a receiver: without media that it doesn't
// support, and without simulcast, whose layers the bridge merges into the first
// SSRC. LJM can't represent a source of more than an SSRC and its retransmission.
func (s Set) For(r Receiver) Set {
	drop := map[uint32]bool{}
	for _, g := range s.Groups {
		if g.Semantics == jingle.SIM {
			for _, ssrc := range g.SSRCs[1:] {
				drop[ssrc] = true
			}
		}
	}
	for _, g := range s.Groups { // the retransmissions of the layers dropped
		if g.Semantics == jingle.FID && drop[g.SSRCs[0]] {
			drop[g.SSRCs[1]] = true
		}
	}
	takes := func(m Media) bool { return m == Audio && r.Audio || m == Video && r.Video }
	var out Set
	for _, src := range s.Sources {
		if takes(src.Media) && !drop[src.SSRC] {
			out.Sources = append(out.Sources, src)
		}
	}
	for _, g := range s.Groups {
		if takes(g.Media) && g.Semantics == jingle.FID && !slices.ContainsFunc(g.SSRCs, func(ssrc uint32) bool { return drop[ssrc] }) {
			out.Groups = append(out.Groups, g)
		}
	}
	return out
}
