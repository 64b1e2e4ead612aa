package alloc

import "slices"

// prioritize orders the sources for a receiver (bridge.md §14.2): endpoints by
// speech, those with a picture first; on-stage and selected sources before all
// others; sources without a picture last. The receiver's own are left out.
func prioritize(r *Request) []*Source {
	var endpoints []string
	byEndpoint := make(map[string][]*Source)
	for i := range r.Sources {
		s := &r.Sources[i]
		if s.Endpoint == r.Receiver {
			continue
		}
		if byEndpoint[s.Endpoint] == nil {
			endpoints = append(endpoints, s.Endpoint)
		}
		byEndpoint[s.Endpoint] = append(byEndpoint[s.Endpoint], s)
	}
	rank := make(map[string]int, len(r.Speakers))
	for i, id := range r.Speakers {
		if _, ok := rank[id]; !ok {
			rank[id] = i
		}
	}
	slices.SortStableFunc(endpoints, func(a, b string) int {
		ra, oka := rank[a]
		rb, okb := rank[b]
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
	slices.SortStableFunc(endpoints, func(a, b string) int {
		return boolRank(anyEnabled(byEndpoint[a])) - boolRank(anyEnabled(byEndpoint[b]))
	})

	flat := make([]*Source, 0, len(r.Sources))
	byName := make(map[string]*Source, len(r.Sources))
	for _, id := range endpoints {
		for _, s := range byEndpoint[id] {
			flat = append(flat, s)
			byName[s.Name] = s
		}
	}
	out := make([]*Source, 0, len(flat))
	done := make(map[string]bool, len(flat))
	take := func(s *Source) {
		if s != nil && !done[s.Name] {
			done[s.Name] = true
			out = append(out, s)
		}
	}
	for _, names := range [2][]string{r.Constraints.OnStage, r.Constraints.Selected} {
		for _, n := range names {
			if s := byName[n]; s != nil && s.Type.Enabled() {
				take(s)
			}
		}
	}
	for _, enabled := range [2]bool{true, false} {
		for _, s := range flat {
			if s.Type.Enabled() == enabled {
				take(s)
			}
		}
	}
	return out
}

func anyEnabled(ss []*Source) bool {
	return slices.ContainsFunc(ss, func(s *Source) bool { return s.Type.Enabled() })
}

// boolRank sorts true before false.
func boolRank(b bool) int {
	if b {
		return 0
	}
	return 1
}
