package focus

import (
	"crypto/sha1"
	"encoding/base64"
	"testing"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// LJM's form of caps, and what must not pass for it: answers whose text to hash is
// the same, but which lack features.
func TestCapsMatch(t *testing.T) {
	t.Parallel()
	sum := sha1.Sum([]byte("http://jitsi.org/ssrc-rewriting-1<http://jitsi.org/tcc<urn:ietf:rfc:4588<"))
	ver := base64.StdEncoding.EncodeToString(sum[:])
	const rewriting, tcc, rtx = `<feature var="http://jitsi.org/ssrc-rewriting-1"/>`, `<feature var="http://jitsi.org/tcc"/>`, `<feature var="urn:ietf:rfc:4588"/>`
	for name, tc := range map[string]struct {
		inner string
		want  bool
	}{
		"in any order":        {rtx + rewriting + tcc, true},
		"one more":            {rewriting + tcc + rtx + `<feature var="urn:x"/>`, false},
		"one less":            {rewriting + tcc, false},
		"two in one":          {rewriting + `<feature var="http://jitsi.org/tcc&lt;urn:ietf:rfc:4588"/>`, false},
		"two as an identity":  {`<identity category="http:" type="" xml:lang="jitsi.org" name="ssrc-rewriting-1&lt;http://jitsi.org/tcc"/>` + rtx, false},
		"each as an identity": {`<identity category="http:" type="" xml:lang="jitsi.org" name="ssrc-rewriting-1"/><identity category="http:" type="" xml:lang="jitsi.org" name="tcc"/>` + rtx, false},
		"as a form": {rewriting + `<x xmlns="jabber:x:data" type="result"><field var="FORM_TYPE" type="hidden"><value>http://jitsi.org/tcc</value></field>` +
			`<field var="urn:ietf:rfc:4588"/></x>`, false},
	} {
		el, err := xmpp.ParseElement(`<query xmlns="`+xmpp.NSInfo+`">`+tc.inner+`</query>`, xmpp.Limits{}, xmpp.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		if got := capsMatch(capsKey("sha-1", ver), el); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCapsCacheIsBounded(t *testing.T) {
	t.Parallel()
	cc := newCapsCache(2)
	for _, k := range []string{"a", "b", "c", "d"} {
		cc.put(k, features{audio: true})
	}
	if _, ok := cc.get("d"); !ok || len(cc.m) != 2 {
		t.Errorf("%v", cc.m)
	}
	if _, ok := cc.get(""); ok {
		t.Error("caps that can't be verified are known")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	a := newAuthority(time.Hour, 2)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	room := xmpp.MustJID("r@conference.meet.example")
	var ids []string
	for i, user := range []string{"alice", "bob", "carol"} {
		l, se := a.authenticate(now.Add(time.Duration(i)*time.Second), &jitmeet.ConferenceRequest{MachineUID: "m"}, xmpp.MustJID(user+"@meet.example/r"), room, isHost)
		if se != nil {
			t.Fatal(se)
		}
		ids = append(ids, l.sessionID)
	}
	if a.len() != 2 || a.logout(ids[0]) || !a.logout(ids[2]) || a.authenticated(xmpp.MustJID("alice@meet.example/r")) {
		t.Error("not the oldest session was dropped")
	}
	if a.ended(room); a.len() != 0 {
		t.Error("a session outlives its meeting")
	}
}
