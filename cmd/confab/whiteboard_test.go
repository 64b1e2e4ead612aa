package main

import "testing"

// The values are those of js-md5 over what getBackendSafePath makes of the page's path.
func TestBoardParam(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tenant, room, id string
		breakout         bool
		want             string
	}{
		{"", "standup", "standup", false, "6c2f9a441f9c51e7823b04a87d2e72a5"},
		{"acme", "standup", "standup", false, "a58b63bbe90605f95d9af8077e34397c"},
		{"", "caf%c3%a9", "caf%c3%a9", false, "c2a029e566a44098c3595cf075283ab0"},
		{"", "standup", "b1", true, "21679999a6b69fba1fcfdbfc0402f39c"},
	} {
		if got := boardParam(c.tenant, c.room, c.id, c.breakout); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
