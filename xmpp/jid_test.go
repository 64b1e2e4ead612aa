package xmpp

import "testing"

// The tenant of /My.Team/ is my_team in addresses; IDNA alone would refuse it.
func TestJIDOfTenant(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"r@conference.my_team.meet.example":          "r@conference.my_team.meet.example",
		"Röom@conference.My_Team.meet.example/Ünick": "röom@conference.my_team.meet.example/Ünick",
		"conference.my_team.meet.example":            "conference.my_team.meet.example",
		"a@_x_.example/r":                            "a@_x_.example/r",
		"a@my_téam.example":                          "",
		"a@my_team..example":                         "",
		"a@my_team.-x.example":                       "",
		"@conference.my_team.meet.example":           "",
		"r@conference.my_team.meet.example/":         "",
		"a b@my_team.example":                        "",
	} {
		j, err := ParseJID(s)
		if (err == nil) != (want != "") || err == nil && j.String() != want {
			t.Errorf("%q: %q, %v", s, j, err)
		}
	}
}

// FuzzJID: what is accepted is canonical, and stays the same.
func FuzzJID(f *testing.F) {
	for _, s := range []string{"a@b.example/c", "a@b_c.example", "Ä@my_x.example/ß", "@x", "x/", "a@b@c/d/e", "a@[::1]", "x.example."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		j, err := ParseJID(s)
		if err != nil {
			return
		}
		if j.Domain == "" {
			t.Fatalf("%q has no domain", s)
		}
		again, err := ParseJID(j.String())
		if err != nil || again != j {
			t.Fatalf("%q: %q, then %q (%v)", s, j, again, err)
		}
	})
}
