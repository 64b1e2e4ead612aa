package focus

import (
	"testing"

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
