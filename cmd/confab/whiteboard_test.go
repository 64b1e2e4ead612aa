package main

import (
	"testing"

	"confab/web/whiteboard"
)

// The values are those of js-md5 over what getBackendSafePath makes of the page's path.
func TestBoardOf(t *testing.T) {
	t.Parallel()
	const standup, acmeStandup = "6c2f9a441f9c51e7823b04a87d2e72a5", "a58b63bbe90605f95d9af8077e34397c"
	for _, c := range []struct {
		param, id, tenant, room string
		breakout                bool
		host                    string
		verified                bool
	}{
		{standup, "standup", "", "standup", false, "", true},
		{"c2a029e566a44098c3595cf075283ab0", "caf%c3%a9", "", "caf%c3%a9", false, "", true},
		{"21679999a6b69fba1fcfdbfc0402f39c", "b1", "", "standup", true, "", true},
		{acmeStandup, "standup", "acme", "standup", false, "", true},
		{standup, "standup", "acme", "standup", false, "acme", true},
		{standup, "standup", "", "other", false, "", false},
		{standup, "standup", "acme", "other", false, "", false},
		{acmeStandup, "standup", "", "standup", false, "", false},
		{standup, "b1", "", "standup", true, "", false},
	} {
		if host, ok := boardOf(whiteboard.Board{Param: c.param, Room: c.id}, c.tenant, c.room, c.breakout); host != c.host || ok != c.verified {
			t.Errorf("%+v: %q %v", c, host, ok)
		}
	}
}
