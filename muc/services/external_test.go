package services

import (
	"strconv"
	"testing"
	"time"

	"confab/muc"
	"confab/xmpp"
)

var _ muc.Requests = (*External)(nil)

// An address is counted over all rooms, and what is remembered is bounded.
func TestTriesOfAddresses(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	c := &ExternalConfig{PerAddress: 2}
	for i := range 4 {
		if got := c.allow(now, "a"); got != (i < 2) {
			t.Errorf("try %d: %v", i, got)
		}
	}
	if !c.allow(now, "b") {
		t.Error("another address")
	}
	if !c.allow(now.Add(time.Minute), "a") {
		t.Error("a minute later")
	}
	for i := range 2 * maxAddresses {
		if !c.allow(now.Add(time.Minute), strconv.Itoa(i)) {
			t.Fatal(i)
		}
		if len(c.addresses) > maxAddresses {
			t.Fatalf("%d addresses", len(c.addresses))
		}
	}
	if c = (&ExternalConfig{}); !c.allow(now, "a") || len(c.addresses) != 0 {
		t.Error("no limit")
	}
}

// What a token's issuer put into names comes out as attributes that can be read.
func FuzzIdentity(f *testing.F) {
	f.Add(`<identity><user><id>x</id></user><group>g</group></identity>`)
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 4096 {
			return
		}
		user, group := identity(src)
		var e xmpp.Enc
		e.Start("x", "").Attr("a", user).Attr("b", group).End()
		if _, err := xmpp.ParseElement(e.String(), xmpp.Limits{}, xmpp.Scope{}); err != nil {
			t.Errorf("%q %q: %v", user, group, err)
		}
	})
}
