package focus

import (
	"slices"
	"testing"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
)

// While the bridge is busy, what a client says about its transport is merged: the
// candidates that the client of December 2021 sends after its session-accept must
// not take the fingerprint with them.
func TestTransportsAreMerged(t *testing.T) {
	t.Parallel()
	prints := []jingle.Fingerprint{{Hash: "sha-256", Setup: "active", Value: "AA:BB"}}
	waits := colibri2.Endpoint{Transport: &colibri2.Transport{ICE: &jingle.Transport{
		Ufrag: "u", Pwd: "p", Fingerprints: prints, Candidates: []jingle.Candidate{{ID: "1"}},
	}}}
	merge(&waits, &colibri2.Endpoint{Transport: &colibri2.Transport{ICE: &jingle.Transport{
		Ufrag: "u", Pwd: "p", Candidates: []jingle.Candidate{{ID: "2"}},
	}}})
	if ice := waits.Transport.ICE; len(ice.Fingerprints) != 1 || len(ice.Candidates) != 2 || ice.Ufrag != "u" {
		t.Errorf("%+v", ice)
	}
	// A restart of ICE has new credentials and candidates, and the same certificate.
	merge(&waits, &colibri2.Endpoint{Transport: &colibri2.Transport{ICE: &jingle.Transport{Ufrag: "v", Pwd: "q", Generation: 1}}})
	if ice := waits.Transport.ICE; len(ice.Fingerprints) != 1 || len(ice.Candidates) != 0 || ice.Ufrag != "v" || ice.Generation != 1 {
		t.Errorf("%+v", ice)
	}
	merge(&waits, &colibri2.Endpoint{ForceMute: &colibri2.ForceMute{Audio: true}})
	if waits.Transport.ICE.Ufrag != "v" || waits.ForceMute == nil {
		t.Errorf("%+v", waits)
	}
}

// What is wanted for many at once does not wait for one answer after the other, and
// what bridges take together goes together.
func TestRequestsAreBatched(t *testing.T) {
	t.Parallel()
	bs := newBridgeSession(nil, xmpp.JID{}, "")
	wants := func(what string, want ...string) {
		t.Helper()
		ops := bs.take()
		var got []string
		for _, op := range ops {
			got = append(got, op.ep.ID)
			bs.busy[op.ep.ID] = true
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: request for %v, want %v", what, got, want)
		}
	}
	mute := func(id string) { bs.update(colibri2.Endpoint{ID: id, ForceMute: &colibri2.ForceMute{Audio: true}}) }
	bs.live = true
	for _, id := range []string{"a", "b", "c", "d"} {
		bs.remote[id] = true
	}
	bs.busy["b"] = true // a request for b is under way
	mute("a")
	mute("b")
	bs.update(colibri2.Endpoint{ID: "c", Sources: &[]colibri2.MediaSource{}})
	mute("c") // merged
	mute("d")
	bs.remove("d")
	bs.remove("d")
	bs.allocate(colibri2.Endpoint{ID: "d", Create: true}, nil)
	wants("force-mute", "a")
	wants("sources", "c")
	wants("expiry; not yet its creation", "d")
	wants("all is under way")
	clear(bs.busy)
	wants("b's turn", "b")
	wants("d's turn", "d")
	wants("nothing is left")
}
