package sources

import (
	"slices"

	"confab/xmpp/xep/jingle"
)

// Map is the book of a conference: owner → set.
type Map struct {
	lim    Limits
	sets   map[string]Set
	ssrcs  map[uint32]string // owner of each SSRC
	msids  map[string]string // owner of each msid
	number int               // of sources in all
}

// NewMap returns an empty map.
func NewMap(lim Limits) *Map {
	return &Map{lim: lim, sets: map[string]Set{}, ssrcs: map[uint32]string{}, msids: map[string]string{}}
}

// Get is the set of an owner.
func (m *Map) Get(owner string) Set { return m.sets[owner] }

// Owners are all who have sources, in order.
func (m *Map) Owners() []string {
	out := make([]string, 0, len(m.sets))
	for owner := range m.sets {
		out = append(out, owner)
	}
	slices.Sort(out)
	return out
}

// Len is the number of sources in all.
func (m *Map) Len() int { return m.number }

// Put sets what an owner has, unchecked: for the bridge's own sources.
func (m *Map) Put(owner string, s Set) {
	m.forget(owner)
	m.store(owner, s.clone())
}

// Drop removes all that an owner has and returns it.
func (m *Map) Drop(owner string) Set {
	s := m.sets[owner]
	m.forget(owner)
	return s
}

// Add adds what an endpoint announces, or returns an *Error and does nothing.
func (m *Map) Add(owner string, add Set) error {
	next := m.sets[owner].clone()
	for _, src := range add.Sources {
		if err := m.checkSource(owner, src, next); err != nil {
			return err
		}
		// The limit is checked on the way, so that cost stays bounded.
		if len(next.Sources) >= m.lim.Sources {
			return errTooManySources(m.lim.Sources)
		}
		next.Sources = append(next.Sources, src)
	}
	for _, g := range add.Groups {
		if len(g.SSRCs) == 0 || next.hasGroup(g) {
			continue // as jicofo: silently
		}
		if len(next.Groups) >= m.lim.Groups {
			return errTooManyGroups(m.lim.Groups)
		}
		next.Groups = append(next.Groups, g)
	}
	if err := next.check(); err != nil {
		return err
	}
	m.forget(owner)
	m.store(owner, next)
	return nil
}

// Remove takes away what an endpoint withdraws, matched by SSRC alone, and
// returns it with the groups that went with it; or returns an *Error and does
// nothing.
func (m *Map) Remove(owner string, rem Set) (Set, error) {
	have := m.sets[owner]
	gone := map[uint32]bool{}
	for _, src := range rem.Sources {
		if src.SSRC == 0 || have.source(src.SSRC) == nil {
			return Set{}, errNotOwned(src.SSRC)
		}
		gone[src.SSRC] = true
	}
	for _, g := range rem.Groups {
		if len(g.SSRCs) > 0 && !have.hasGroup(g) {
			return Set{}, errNoGroup
		}
	}
	var next, removed Set
	for _, src := range have.Sources {
		if gone[src.SSRC] {
			removed.Sources = append(removed.Sources, src)
		} else {
			next.Sources = append(next.Sources, src)
		}
	}
	for _, g := range have.Groups {
		touched := slices.ContainsFunc(g.SSRCs, func(ssrc uint32) bool { return gone[ssrc] })
		if !touched && !rem.hasGroup(g) {
			next.Groups = append(next.Groups, g)
			continue
		}
		removed.Groups = append(removed.Groups, g)
		// The layers that stay are still layers of one source.
		if left := slices.DeleteFunc(slices.Clone(g.SSRCs), func(ssrc uint32) bool { return gone[ssrc] }); g.Semantics == jingle.SIM && touched && len(left) > 1 {
			next.Groups = append(next.Groups, Group{g.Semantics, g.Media, left})
		}
	}
	if err := next.check(); err != nil {
		return Set{}, err
	}
	m.forget(owner)
	m.store(owner, next)
	return removed, nil
}

func (m *Map) store(owner string, s Set) {
	if s.Empty() {
		return
	}
	m.sets[owner] = s
	m.number += len(s.Sources)
	for _, src := range s.Sources {
		m.ssrcs[src.SSRC] = owner
		if src.MSID != "" {
			m.msids[src.MSID] = owner
		}
	}
}

func (m *Map) forget(owner string) {
	s := m.sets[owner]
	m.number -= len(s.Sources)
	delete(m.sets, owner)
	for _, src := range s.Sources {
		delete(m.ssrcs, src.SSRC)
		if m.msids[src.MSID] == owner {
			delete(m.msids, src.MSID)
		}
	}
}

// BySource splits a set into media sources, in order of appearance, as colibri2
// wants it: each group goes with the name of its first SSRC that has a source.
func (s Set) BySource() []Named {
	var out []Named
	at := func(m Media, name string) *Named {
		for i := range out {
			if out[i].Media == m && out[i].Name == name {
				return &out[i]
			}
		}
		out = append(out, Named{Media: m, Name: name})
		return &out[len(out)-1]
	}
	for _, src := range s.Sources {
		n := at(src.Media, src.Name)
		// The bridge has no use for msids.
		n.Sources = append(n.Sources, jingle.Source{SSRC: src.SSRC, Name: src.Name, VideoType: src.VideoType})
	}
	for _, g := range s.Groups {
		for _, ssrc := range g.SSRCs {
			if src := s.source(ssrc); src != nil {
				n := at(src.Media, src.Name)
				n.Groups = append(n.Groups, jingle.SSRCGroup{Semantics: g.Semantics, SSRCs: g.SSRCs})
				break
			}
		}
	}
	return out
}

// Named is one media source with its SSRCs.
type Named struct {
	Media   Media
	Name    string
	Sources []jingle.Source
	Groups  []jingle.SSRCGroup
}
