package credential

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

const realm = "meet.example.org"

// The vector of turn.md §4.
const vectorKey = "01616f63150d284725a95889e3691d4a"

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func ring2(secrets []Secret, users ...User) *Keyring {
	k := &Keyring{}
	k.Set(secrets, users)
	return k
}

func TestLookup(t *testing.T) {
	t.Parallel()
	k := ring2([]Secret{{Value: "north"}}, User{"anna", realm, Key("anna", realm, "secret 1")}, User{"anna", "other.example", Key("anna", "other.example", "secret 2")})
	who, ok := k.Lookup("1795380000:k3v9", realm, noon)
	if !ok || who.ID != "k3v9" || who.Expires.Unix() != 1795380000 || len(who.Keys) != 1 || hex.EncodeToString(who.Keys[0]) != vectorKey {
		t.Fatalf("%+v %v", who, ok)
	}
	for username, want := range map[string]string{ // the id that counts, "" for nobody
		"k3v9:1795380000":  "k3v9",
		"1795380000":       "1795380000",
		"1795380000:":      "1795380000:",
		":1795380000":      ":1795380000",
		"1795380000::anna": "anna", // is not the user anna
		"1795380000:anna":  "anna",
		"1:2":              "2",
		"a:b:3":            "a:b",
		"anna":             ":anna",
		"bob":              "",
		"":                 "",
		":":                "",
		"+5:x":             "",
		"-5:x":             "",
		"1e3:x":            "",
		"1234567890123:x":  "", // no time that can be calculated with
		"1:" + strings.Repeat("x", MaxUsername-2): strings.Repeat("x", MaxUsername-2),
		"1:" + strings.Repeat("x", MaxUsername-1): "",
	} {
		who, ok := k.Lookup(username, realm, noon)
		if ok != (want != "") || who.ID != want || ok && len(who.Keys) == 0 {
			t.Errorf("%q: %+v %v", username, who, ok)
		}
	}
	one, _ := k.Lookup("anna", realm, noon)
	two, _ := k.Lookup("anna", "other.example", noon)
	if !one.Expires.IsZero() || bytes.Equal(one.Keys[0], two.Keys[0]) {
		t.Error("a user has a key for each realm, without an end")
	}
	if _, ok := k.Lookup("anna", "third.example", noon); ok {
		t.Error("a user of another realm")
	}
	if _, ok := new(Keyring).Lookup("1:x", realm, noon); ok || !new(Keyring).Empty() || k.Empty() {
		t.Error("an empty keyring knows somebody")
	}
	if _, err := new(Keyring).Mint(noon, time.Hour, "x"); !errors.Is(err, ErrNoSecret) {
		t.Errorf("an empty keyring signs: %v", err)
	}
}

// A user's name can't be one that is taken for a time-limited username, so that the
// question who wins is decided before it is asked; and if such a user was put in by
// other means, the time-limited credential wins.
func TestUsersAndTimesAreTold(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{"anna": true, "Anna Müller": true, "0x12": true, "1795380000": false, "17:anna": false, "anna:17": false,
		"a:b": false, "": false, strings.Repeat("x", MaxUsername): true, strings.Repeat("x", MaxUsername+1): false} {
		if err := CheckUserName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
	k := ring2([]Secret{{Value: "north"}}, User{"1795380000:k3v9", realm, Key("1795380000:k3v9", realm, "mine")})
	if who, ok := k.Lookup("1795380000:k3v9", realm, noon); !ok || hex.EncodeToString(who.Keys[0]) != vectorKey || len(who.Keys) != 1 {
		t.Errorf("%+v %v", who, ok)
	}
}

// A rotation: the new secret signs at once, the old one verifies until its end, to
// the second.
func TestOldSecretsEnd(t *testing.T) {
	t.Parallel()
	k := ring2([]Secret{{Value: "old"}})
	before, err := k.Mint(noon, 24*time.Hour, "k3v9")
	if err != nil {
		t.Fatal(err)
	}
	k.Set([]Secret{{Value: "new"}, {Value: "old", Until: noon.Add(48 * time.Hour)}, {Value: ""}}, nil)
	after, err := k.Mint(noon, 24*time.Hour, "k3v9")
	if err != nil || after.Username != before.Username || after.Password == before.Password || k.Signer() != "new" {
		t.Fatal(before, after, err)
	}
	verifies := func(c Credential, now time.Time) bool {
		who, _ := k.Lookup(c.Username, realm, now)
		want := Key(c.Username, realm, c.Password)
		for _, key := range who.Keys {
			if bytes.Equal(key, want[:]) {
				return true
			}
		}
		return false
	}
	for _, c := range []struct {
		after    time.Duration
		old, new bool
	}{{0, true, true}, {48*time.Hour - time.Nanosecond, true, true}, {48 * time.Hour, false, true}, {1000 * time.Hour, false, true}} {
		now := noon.Add(c.after)
		if verifies(before, now) != c.old || verifies(after, now) != c.new {
			t.Errorf("after %v: old %v, new %v", c.after, verifies(before, now), verifies(after, now))
		}
	}
	who, _ := k.Lookup(after.Username, realm, noon)
	if want := Key(after.Username, realm, after.Password); len(who.Keys) != 2 || !bytes.Equal(who.Keys[0], want[:]) {
		t.Error("the present key is not the first")
	}
	k.Set([]Secret{{Value: "old", Until: noon}}, nil)
	if _, ok := k.Lookup(before.Username, realm, noon); ok {
		t.Error("nothing is in force, and somebody is known")
	}
}

// Requests go on while everything is replaced: each sees the old or the new.
func TestSetWhileLookedUp(t *testing.T) {
	t.Parallel()
	k := ring2([]Secret{{Value: "a"}}, User{Name: "anna", Realm: realm})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				_, timed := k.Lookup("1795380000:x", realm, noon)
				_, user := k.Lookup("anna", realm, noon)
				if !timed || !user {
					t.Error("somebody was not known meanwhile")
					return
				}
			}
		})
	}
	for range 1000 {
		k.Set([]Secret{{Value: "b"}, {Value: "a"}}, []User{{Name: "anna", Realm: realm}})
	}
	wg.Wait()
}

func FuzzLookup(f *testing.F) {
	for _, s := range []string{"1795380000:k3v9", "k3v9:1795380000", "1795380000", ":", "", "anna", "9999999999999:x", "a:b:3", "1795380000::x", "\xff:1"} {
		f.Add(s)
	}
	k := ring2([]Secret{{Value: "north"}, {Value: "old", Until: noon.Add(time.Hour)}}, User{Name: "anna", Realm: realm})
	f.Fuzz(func(t *testing.T, username string) {
		expires, id, timed := Parse(username)
		if timed && (expires.Unix() < 0 || expires.Year() > 40_000 || len(id) >= len(username) && id != "") {
			t.Errorf("%q: %v %q", username, expires, id)
		}
		who, ok := k.Lookup(username, realm, noon)
		switch {
		case len(username) > MaxUsername:
			if ok {
				t.Errorf("%d bytes are known", len(username))
			}
		case ok != (timed || username == "anna"):
			t.Errorf("%q: known %v, timed %v", username, ok, timed)
		case !ok:
			if who.ID != "" || who.Keys != nil {
				t.Errorf("%q: %+v of nobody", username, who)
			}
		case who.ID == "" || timed != !who.Expires.IsZero() || timed && len(who.Keys) != 2 || timed && who.ID == ":anna":
			t.Errorf("%q: %+v", username, who)
		}
		if CheckUserName(username) == nil && timed {
			t.Errorf("%q is a user's name and a time-limited one", username)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	for name, username := range map[string]string{"timed": "1795380000:k3v9k3v9k3", "user": "anna", "nobody": "eve", "longest": "1:" + strings.Repeat("x", MaxUsername-2)} {
		b.Run(name, func(b *testing.B) {
			k := ring2([]Secret{{Value: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}, User{Name: "anna", Realm: realm})
			b.ReportAllocs()
			for b.Loop() {
				k.Lookup(username, realm, noon)
			}
		})
	}
}
