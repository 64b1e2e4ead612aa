package main

import (
	"encoding/hex"
	"strings"
	"testing"

	"confab/cmd/confab/config"
)

func TestTURNUserCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		args, stdin string
		status      int
		out         string // part of the output, or of the error output
	}{
		{"turn user list", "", 0, "NAME  REALM  CREATED  COUNTS\n"},
		{"turn user add anna", "secret 1\n", 0, "TURN user anna added (realm meet.example)\n"},
		{"turn user add anna", "x", 1, "TURN user anna exists already"},
		{"turn user add bob", "", 0, "TURN user bob added (realm meet.example)\npassword (shown once): "},
		{"turn user add 1795380000", "x", 1, `"1795380000" is no name for a TURN user`},
		{"turn user add a:b", "x", 1, `"a:b" is no name for a TURN user`},
		{"turn user list", "", 0, "anna  meet.example  20"},
		{"turn user list --domain other.example", "", 0, "  no, turn.realm is other.example\n"},
		{"turn user remove anna --domain other.example", "", 1, "there is no TURN user anna in realm other.example"},
		{"turn user remove anna", "", 0, "TURN user anna removed\n"},
		{"turn user remove anna", "", 1, "there is no TURN user anna in realm meet.example"},
		{"turn user add carl --key", "0x8493fbc53ba582fb4c044c456bdc40eb\n", 0, "TURN user carl added (realm meet.example)\n"},
		{"turn user add dora --key", "8493fbc53ba582fb4c044c456bdc40", 1, "stdin has no key"},
		{"turn user add dora --key", "secret of thirty-two characters!", 1, "stdin has no key"},
		{"turn user add dora --key", "", 1, "stdin has no key"},
		{"turn user list --key", "", 2, "--key belongs to turn user add"},
		{"turn", "", 2, "turn: user add, user list or user remove expected"},
		{"turn user passwd anna", "", 2, "turn: user add, user list or user remove expected"},
		{"turn user add", "", 2, "turn user add: NAME expected"},
		{"turn user list x", "", 2, "turn user list: takes no name"},
	} {
		status, out, errOut := w.run(t.Context(), c.stdin, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out+errOut, c.out) || (status == 0) != (errOut == "") || strings.Contains(out+errOut, "secret 1") {
			t.Errorf("confab %s: exit %d\n%s%s", c.args, status, out, errOut)
		}
	}
	// What is kept is the long-term key, and no password.
	if status, _, errOut := w.run(t.Context(), "pass\n", "turn", "user", "add", "user", "--domain", "realm"); status != 0 {
		t.Fatal(errOut)
	}
	st, err := openStorage(t.Context(), config.Config{DataDir: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if list, err := st.TURNUsers(t.Context(), "meet.example"); err != nil || len(list) != 2 || hex.EncodeToString(list[1].Key) != "8493fbc53ba582fb4c044c456bdc40eb" {
		t.Errorf("%+v %v", list, err)
	}
	list, err := st.TURNUsers(t.Context(), "realm")
	if err != nil || len(list) != 1 || hex.EncodeToString(list[0].Key) != "8493fbc53ba582fb4c044c456bdc40eb" { // RFC 8489 §9.2.2
		t.Errorf("%+v %v", list, err)
	}
}
