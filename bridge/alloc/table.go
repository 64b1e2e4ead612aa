package alloc

import "slices"

// Table is all video sources of a conference in the order in which receivers get
// them (bridge.md §14.2), before what each of them put first: endpoints by speech,
// those with a picture first; sources without a picture last. It is immutable and
// the same for all receivers.
type Table struct {
	sources []Source
	index   map[string]int
}

// NewTable orders sources, which come endpoint by endpoint in the order in which
// these joined. speakers are endpoint ids, the dominant first. What it is given it
// does not keep.
func NewTable(sources []Source, speakers []string) *Table {
	rank := make(map[string]int, len(speakers))
	for i, id := range speakers {
		if _, ok := rank[id]; !ok {
			rank[id] = i
		}
	}
	seen := make(map[string]bool, len(sources)) // endpoints with a picture
	for i := range sources {
		if sources[i].Type.Enabled() {
			seen[sources[i].Endpoint] = true
		}
	}
	t := &Table{sources: slices.Clone(sources), index: make(map[string]int, len(sources))}
	slices.SortStableFunc(t.sources, func(a, b Source) int {
		if d := boolRank(a.Type.Enabled()) - boolRank(b.Type.Enabled()); d != 0 {
			return d
		}
		if d := boolRank(seen[a.Endpoint]) - boolRank(seen[b.Endpoint]); d != 0 {
			return d
		}
		ra, oka := rank[a.Endpoint]
		rb, okb := rank[b.Endpoint]
		switch {
		case oka && okb:
			return ra - rb
		case oka:
			return -1
		case okb:
			return 1
		}
		return 0 // never spoken: as they joined
	})
	for i := range t.sources {
		t.index[t.sources[i].Name] = i
	}
	return t
}

// boolRank sorts true before false.
func boolRank(b bool) int {
	if b {
		return 0
	}
	return 1
}

// Len is how many sources there are.
func (t *Table) Len() int { return len(t.sources) }

// Has says whether there is a source of this name.
func (t *Table) Has(name string) bool {
	_, ok := t.index[name]
	return ok
}

// Owner is the endpoint of a source, "" if there is no such source.
func (t *Table) Owner(name string) string {
	if i, ok := t.index[name]; ok {
		return t.sources[i].Endpoint
	}
	return ""
}
