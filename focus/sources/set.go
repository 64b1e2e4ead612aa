package sources

import (
	"slices"

	"confab/xmpp/xep/jingle"
)

// Source is one SSRC of a set.
type Source struct {
	SSRC      uint32
	Media     Media
	Name      string
	MSID      string
	VideoType string // camera, desktop or ""
}

// Group ties SSRCs of one set together.
type Group struct {
	Semantics string
	Media     Media
	SSRCs     []uint32
}

func (g Group) equal(h Group) bool {
	return g.Semantics == h.Semantics && g.Media == h.Media && slices.Equal(g.SSRCs, h.SSRCs)
}

// Set is what one endpoint sends. Order is the order of signalling: the first
// SSRC of a simulcast group is the lowest layer.
type Set struct {
	Sources []Source
	Groups  []Group
}

// Empty reports whether there is nothing in s.
func (s Set) Empty() bool { return len(s.Sources) == 0 && len(s.Groups) == 0 }

// Has reports whether s has sources of a medium.
func (s Set) Has(m Media) bool {
	return slices.ContainsFunc(s.Sources, func(x Source) bool { return x.Media == m })
}

func (s Set) source(ssrc uint32) *Source {
	for i := range s.Sources {
		if s.Sources[i].SSRC == ssrc {
			return &s.Sources[i]
		}
	}
	return nil
}

func (s Set) hasGroup(g Group) bool { return slices.ContainsFunc(s.Groups, g.equal) }

func (s Set) clone() Set {
	return Set{Sources: slices.Clone(s.Sources), Groups: slices.Clone(s.Groups)}
}

// Append reads the sources of one content. Sources without a name get the one
// that old clients mean: <owner>-a0 and <owner>-v0.
func (s *Set) Append(owner string, m Media, srcs []jingle.Source, groups []jingle.SSRCGroup) {
	for _, j := range srcs {
		name := j.Name
		if name == "" {
			name = owner + "-" + m.String()[:1] + "0"
		}
		s.Sources = append(s.Sources, Source{j.SSRC, m, name, j.MSID, j.VideoType})
	}
	for _, g := range groups {
		s.Groups = append(s.Groups, Group{g.Semantics, m, slices.Clone(g.SSRCs)})
	}
}

// Minus is what of s is not in t.
func (s Set) Minus(t Set) Set {
	var out Set
	for _, src := range s.Sources {
		if t.source(src.SSRC) == nil {
			out.Sources = append(out.Sources, src)
		}
	}
	for _, g := range s.Groups {
		if !t.hasGroup(g) {
			out.Groups = append(out.Groups, g)
		}
	}
	return out
}

// Media is the part of s of one media type, as Jingle has it. owner is "" or is
// written into each source.
func (s Set) Media(m Media, owner string) (srcs []jingle.Source, groups []jingle.SSRCGroup) {
	for _, src := range s.Sources {
		if src.Media == m {
			srcs = append(srcs, jingle.Source{SSRC: src.SSRC, Name: src.Name, VideoType: src.VideoType, Owner: owner, MSID: src.MSID})
		}
	}
	for _, g := range s.Groups {
		if g.Media == m {
			groups = append(groups, jingle.SSRCGroup{Semantics: g.Semantics, SSRCs: g.SSRCs})
		}
	}
	return srcs, groups
}

// Compact is s in the JSON form.
func (s Set) Compact() jingle.EndpointSources {
	var es jingle.EndpointSources
	es.Video, es.VideoGroups = s.Media(Video, "")
	es.Audio, es.AudioGroups = s.Media(Audio, "")
	return es
}
