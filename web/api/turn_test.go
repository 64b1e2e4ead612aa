package api

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"testing"
)

// The operator pages through what is relayed and ends one; hosts see nothing of it.
func TestAllocations(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := newAPI(f, nil)
	page := func(search string) (numbers []uint64, more bool) {
		q := ordinary("GET /turn/allocations")
		q.search = search
		resp := q.ask(s)
		body, _ := io.ReadAll(resp.Body)
		var got struct {
			Allocations []Allocation
			More        bool
		}
		if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK || got.Allocations == nil {
			t.Fatalf("%s: %d %s", search, resp.StatusCode, body)
		}
		for _, a := range got.Allocations {
			numbers = append(numbers, a.Number)
		}
		return numbers, got.More
	}
	for _, c := range []struct {
		search string
		want   []uint64
		more   bool
	}{{"", []uint64{7, 9}, false}, {"?limit=1", []uint64{7}, true}, {"?limit=1&after=7", []uint64{9}, false}, {"?after=9", nil, false}} {
		if got, more := page(c.search); !slices.Equal(got, c.want) || more != c.more {
			t.Errorf("%q: %v %v", c.search, got, more)
		}
	}
	end := ordinary("DELETE /turn/allocations/{number}")
	for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		if got := end.ask(s).StatusCode; got != want {
			t.Errorf("%d, not %d", got, want)
		}
	}
	if got, _ := page(""); !slices.Equal(got, []uint64{9}) {
		t.Errorf("left: %v", got)
	}
	for search, op := range map[string]string{"?after=-1": "GET /turn/allocations", "?after=x": "GET /turn/allocations", "?limit=0": "GET /turn/allocations"} {
		q := ordinary(op)
		if q.search = search; q.ask(s).StatusCode != http.StatusBadRequest {
			t.Errorf("%s is taken", search)
		}
	}
	// Where nothing but the relay runs there is nothing else.
	alone := newAPI(f, func(c *Config) { c.Backend = nil })
	for op, want := range map[string]int{"GET /turn/allocations": http.StatusOK, "GET /rooms": http.StatusNotFound, "GET /node": http.StatusNotFound} {
		if got := ordinary(op).ask(alone).StatusCode; got != want {
			t.Errorf("%s without meetings: %d", op, got)
		}
	}
	f.calls = nil
	for _, op := range []string{"GET /turn/allocations", "DELETE /turn/allocations/{number}"} {
		q := ordinary(op)
		q.key, q.user, q.password, q.number = "", "anna", "pw", "9"
		if got := q.ask(s).StatusCode; got != http.StatusForbidden || len(f.calls) > 0 {
			t.Errorf("%s of a host: %d, %v", op, got, f.calls)
		}
	}
}
