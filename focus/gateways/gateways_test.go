package gateways

import (
	"testing"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

func jid(nick string) xmpp.JID { return xmpp.MustJID("brewery@internal.auth.meet.example/" + nick) }

func TestRecorders(t *testing.T) {
	t.Parallel()
	var r Recorders
	now := time.Unix(1000, 0)
	pick := func(want string) {
		t.Helper()
		got, ok := r.Pick(now)
		if got.Resource != want || ok != (want != "") {
			t.Errorf("picked %q, want %q", got.Resource, want)
		}
	}
	pick("")
	r.Report(jid("a"), false)
	pick("")
	r.Report(jid("a"), true)
	r.Report(jid("b"), true)
	pick("a")
	pick("b") // a may be busy any moment
	pick("")
	now = now.Add(selectPause)
	r.Failed(now, jid("a"))
	pick("b")
	now = now.Add(selectPause)
	r.Report(jid("b"), false)
	pick("") // a has failed just now
	now = now.Add(failPause)
	pick("a")
	now = now.Add(time.Second)
	r.Failed(now, jid("a"))
	r.Report(jid("a"), true) // forgiven
	pick("a")
	now = now.Add(time.Second)
	r.Report(jid("b"), true)
	r.Failed(now, jid("b"))
	now = now.Add(time.Second)
	r.Failed(now, jid("a"))
	pick("")
	now = now.Add(failPause - time.Second)
	pick("b") // the older failure
	if all, idle := r.Count(); all != 2 || idle != 2 {
		t.Error(all, idle)
	}
	r.Remove(jid("b"))
	r.Failed(now, jid("b"))
	if gone := r.Clear(); len(gone) != 1 || gone[0] != jid("a") {
		t.Error(gone)
	}
	pick("")
}

func TestGateways(t *testing.T) {
	t.Parallel()
	var g Gateways
	pick := func(w Want, want string) {
		t.Helper()
		got, ok := g.Pick(w)
		if got.Resource != want || ok != (want != "") {
			t.Errorf("%+v: picked %q, want %q", w, got.Resource, want)
		}
	}
	pick(Want{}, "")
	g.Report(jid("a"), colibri2.Stats{"supports_sip": "true", "participants": "5", "region": "eu"})
	g.Report(jid("b"), colibri2.Stats{"supports_sip": "true", "participants": "3", "region": "us"})
	g.Report(jid("t"), colibri2.Stats{"supports_transcription": "true", "participants": "0", "region": "eu"})
	pick(Want{}, "b")
	pick(Want{Regions: []string{"eu"}}, "a")
	pick(Want{Regions: []string{"ap"}}, "b")
	pick(Want{Transcriber: true}, "t")
	pick(Want{Exclude: []xmpp.JID{jid("b")}}, "a")
	g.Report(jid("b"), colibri2.Stats{"participants": "9"}) // the rest stays
	pick(Want{}, "a")
	g.Report(jid("a"), colibri2.Stats{"graceful_shutdown": "true"})
	pick(Want{Regions: []string{"eu"}}, "b")
	g.Report(jid("a"), colibri2.Stats{"graceful_shutdown": "false"})
	pick(Want{Regions: []string{"eu"}}, "b") // it has begun to shut down
	if n := g.Count(); n != (Counts{All: 3, SIP: 2, SIPGraceful: 1, Transcribers: 1}) {
		t.Errorf("%+v", n)
	}
	g.Remove(jid("b"))
	pick(Want{}, "")
	g.Clear()
	pick(Want{Transcriber: true}, "")
}
