package focus

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"slices"
	"strings"
	"sync"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// features are what an offer depends on.
type features struct {
	audio, video, sctp, rtx, tcc, remb, red, rewriting, mids, json, audioMute bool
	jitsi                                                                     bool // any feature of Jitsi's own
}

// media reports whether there is anything to offer. A plain XMPP client that
// knows Jingle calls of its own is not offered a conference.
func (f features) media() bool { return f.jitsi && (f.audio || f.video || f.sctp) }

func readFeatures(vars []string) features {
	var f features
	for _, v := range vars {
		f.jitsi = f.jitsi || strings.HasPrefix(v, "http://jitsi.org/")
		switch v {
		case jitmeet.FeatureAudio:
			f.audio = true
		case jitmeet.FeatureVideo:
			f.video = true
		case jitmeet.FeatureSCTP:
			f.sctp = true
		case jitmeet.FeatureRTX:
			f.rtx = true
		case jitmeet.FeatureTCC:
			f.tcc = true
		case jitmeet.FeatureREMB:
			f.remb = true
		case jitmeet.FeatureOpusRED:
			f.red = true
		case jitmeet.FeatureSSRCRewriting:
			f.rewriting = true
		case jitmeet.FeatureMidDemux:
			f.mids = true
		case jitmeet.FeatureJSONSources:
			f.json = true
		case jitmeet.FeatureAudioMute:
			f.audioMute = true
		}
	}
	return f
}

// assumed are the features of a Jitsi client that doesn't answer.
var assumed = features{audio: true, video: true, sctp: true, jitsi: true}

// discover finds out what a member can do: from the cache when its caps are
// known, else by asking. Until then it isn't invited.
func (c *Conference) discover(m *Member) {
	if f, ok := c.s.caps.get(m.capsKey); ok {
		m.features, m.known = f, true
		return
	}
	key := m.capsKey
	// No node: LJM answers a plain disco#info with the features of its caps.
	get := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, m.jid, `<query xmlns="`+xmpp.NSInfo+`"/>`)
	c.s.port.Go(get, c.s.cfg.ReplyTimeout, func(reply *xmpp.Stanza, err error) {
		c.post(func() { c.discovered(m, key, reply, err) })
	})
}

func (c *Conference) discovered(m *Member, key string, reply *xmpp.Stanza, err error) {
	if c.members[m.nick] != m || m.capsKey != key {
		return
	}
	switch query := payload(reply, xmpp.NSInfo, "query"); {
	case err == nil && query != nil:
		var vars []string
		for _, f := range query.Children("", "feature") {
			vars = append(vars, f.Get("var"))
		}
		m.features = readFeatures(vars)
		// Only a hash that fits the answer may speak for other clients.
		if key != "" && capsMatch(key, query) {
			c.s.caps.put(key, m.features)
		}
	case m.jitsi && !m.known:
		c.log.Debug("features not discovered", "endpoint", m.nick, "err", err)
		m.features = assumed
	}
	m.known = true
	c.invite(m)
}

func payload(s *xmpp.Stanza, ns, name string) *xmpp.Element {
	if s == nil {
		return nil
	}
	return s.Child(ns, name)
}

// capsKey is the key of caps that can be verified, or "".
func capsKey(algo, ver string) string {
	if algo != "sha-1" && algo != "sha-256" || ver == "" || len(ver) > 64 {
		return ""
	}
	return algo + " " + ver
}

// capsMatch verifies a disco#info answer against its caps hash (XEP-0115 §5.1). It
// takes answers of features alone, which is what LJM gives. In the text that is
// hashed an identity or a form can read like features: with them somebody could
// make up an answer that has the hash of the stock client and none of its
// features, for all others to be taken by.
func capsMatch(key string, query *xmpp.Element) bool {
	algo, ver, _ := strings.Cut(key, " ")
	var h hash.Hash
	switch algo {
	case "sha-1":
		h = sha1.New() //nolint:gosec // what the protocol says
	case "sha-256":
		h = sha256.New()
	default:
		return false
	}
	vars := make([]string, 0, len(query.Kids))
	for _, k := range query.Kids {
		v := k.Get("var")
		if k.Name != "feature" || strings.Contains(v, "<") {
			return false
		}
		vars = append(vars, v)
	}
	slices.Sort(vars)
	for _, v := range vars {
		h.Write([]byte(v))
		h.Write([]byte{'<'})
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)) == ver
}

// capsCache keeps feature lists by verified caps hash.
type capsCache struct {
	max int

	mu sync.Mutex
	m  map[string]features
}

func newCapsCache(n int) *capsCache { return &capsCache{max: n, m: map[string]features{}} }

func (cc *capsCache) get(key string) (features, bool) {
	if key == "" {
		return features{}, false
	}
	cc.mu.Lock()
	defer cc.mu.Unlock()
	f, ok := cc.m[key]
	return f, ok
}

func (cc *capsCache) put(key string, f features) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if len(cc.m) >= cc.max { // builds come and go: any one may be forgotten
		for k := range cc.m {
			delete(cc.m, k)
			break
		}
	}
	cc.m[key] = f
}
