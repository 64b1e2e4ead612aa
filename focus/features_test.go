package focus

import (
	"testing"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// The two examples of XEP-0115 §5.2 and §5.3, and what must not pass for them.
func TestCapsMatch(t *testing.T) {
	t.Parallel()
	const features = `<feature var="http://jabber.org/protocol/disco#items"/><feature var="http://jabber.org/protocol/caps"/>` +
		`<feature var="http://jabber.org/protocol/muc"/><feature var="http://jabber.org/protocol/disco#info"/>`
	const form = `<x xmlns="jabber:x:data" type="result"><field var="FORM_TYPE" type="hidden"><value>urn:xmpp:dataforms:softwareinfo</value></field>` +
		`<field var="ip_version"><value>ipv4</value><value>ipv6</value></field><field var="os"><value>Mac</value></field>` +
		`<field var="os_version"><value>10.5.1</value></field><field var="software"><value>Psi</value></field>` +
		`<field var="software_version"><value>0.11</value></field></x>`
	for _, tc := range []struct {
		name, ver, inner string
		want             bool
	}{
		{"simple", "QgayPKawpkPSDYmwT/WM94uAlu0=", `<identity category="client" type="pc" name="Exodus 0.9.1"/>` + features, true},
		{"complex", "q07IKJEyjvHSyhy//CH0CxmKi8w=", `<identity xml:lang="en" category="client" name="Psi 0.11" type="pc"/><identity xml:lang="el" category="client" name="Ψ 0.11" type="pc"/>` + features + form, true},
		{"a feature more", "QgayPKawpkPSDYmwT/WM94uAlu0=", `<identity category="client" type="pc" name="Exodus 0.9.1"/>` + features + `<feature var="urn:x"/>`, false},
		{"two features in one", "QgayPKawpkPSDYmwT/WM94uAlu0=", `<identity category="client" type="pc" name="Exodus 0.9.1"/>` +
			`<feature var="http://jabber.org/protocol/disco#items"/><feature var="http://jabber.org/protocol/muc"/>` +
			`<feature var="http://jabber.org/protocol/caps&lt;http://jabber.org/protocol/disco#info"/>`, false},
	} {
		el, err := xmpp.ParseElement(`<query xmlns="`+xmpp.NSInfo+`">`+tc.inner+`</query>`, xmpp.Limits{}, xmpp.Scope{})
		if err != nil {
			t.Fatal(err)
		}
		if got := capsMatch(capsKey("sha-1", tc.ver), el); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
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
		l, se := a.authenticate(now.Add(time.Duration(i)*time.Second), &jitmeet.ConferenceRequest{MachineUID: "m"}, xmpp.MustJID(user+"@meet.example/r"), room, true)
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
