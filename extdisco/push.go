package extdisco

import (
	"maps"
	"strconv"

	"confab/xmpp"
)

// follower is a session that is told when servers come, go or get other credentials.
//
// XEP-0215 §3.2 has pushes for who asked for the services of one type, as long as it is
// connected. LJM never names a type, so that stock clients, which answer no such
// request, get none. Version 1 has no action attribute and gets none either.
type follower struct {
	port  xmpp.Port
	host  xmpp.JID                     // whom it asked
	known map[string]map[string]served // by type asked for and key of a server
}

// served is what a follower knows of a server.
type served struct {
	Server
	signer string
}

// maxFollowers bounds the sessions that are pushed to; more are not told of changes.
const maxFollowers = 10_000

// key tells the servers of a list apart.
func (s Server) key() string {
	return s.Type + " " + s.Transport + " " + s.Host + " " + strconv.Itoa(s.Port)
}

// follow returns the entries for a session that asked for a type, and takes note of
// what it learns by them. Both under the lock, so that no change comes between.
func (s *Service) follow(q *xmpp.Stanza, typ string) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := s.list.Entries(q.From)
	if s.router == nil || typ != "stun" && typ != "turn" && typ != "turns" {
		return entries
	}
	port, ok := s.router.Port(q.From)
	if !ok {
		return entries
	}
	f := s.followers[q.From]
	if f == nil && len(s.followers) >= maxFollowers {
		maps.DeleteFunc(s.followers, func(_ xmpp.JID, f *follower) bool { return s.gone(f) })
		if len(s.followers) >= maxFollowers {
			return entries
		}
	}
	if f == nil || f.port != port { // another session may have had the address
		f = &follower{port: port, known: map[string]map[string]served{}}
		s.followers[q.From] = f
	}
	f.host = q.To
	f.known[typ] = known(entries, typ)
	return entries
}

func known(entries []Entry, typ string) map[string]served {
	out := map[string]served{}
	for _, e := range entries {
		if e.Type == typ {
			out[e.key()] = served{e.Server, e.signer}
		}
	}
	return out
}

// gone reports whether the session has ended, or its address is another's.
func (s *Service) gone(f *follower) bool {
	port, ok := s.router.Port(f.port.JID())
	return !ok || port != f.port
}

// Changed pushes to those that follow what has become different. It does not wait.
func (s *Service) Changed() {
	for _, push := range s.changes() {
		s.router.RouteNow(push)
	}
}

func (s *Service) changes() (pushes []*xmpp.Stanza) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for jid, f := range s.followers {
		if s.gone(f) {
			delete(s.followers, jid)
			continue
		}
		entries := s.list.told(jid)
		for typ, before := range f.known {
			after := known(entries, typ)
			inner := difference(typ, before, after, entries)
			f.known[typ] = after
			if inner == "" {
				continue
			}
			s.pushes++
			pushes = append(pushes, xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "extdisco-"+strconv.Itoa(s.pushes), f.host, jid, inner))
		}
	}
	return pushes
}

// difference is the payload of a push, "" without one.
func difference(typ string, before, after map[string]served, entries []Entry) string {
	var enc xmpp.Enc
	enc.Start("services", NS2).Attr("type", typ)
	some := false
	for _, e := range entries {
		if e.Type != typ {
			continue
		}
		old, had := before[e.key()]
		switch {
		case !had:
			encode(&enc, e, "add")
		case old.signer != e.signer:
			encode(&enc, e, "modify")
		default:
			continue
		}
		some = true
	}
	for key, old := range before {
		if _, has := after[key]; !has {
			some = true
			encode(&enc, Entry{Server: Server{Type: old.Type, Host: old.Host, Port: old.Port, Transport: old.Transport}}, "delete")
		}
	}
	if !some {
		return ""
	}
	return enc.End().String()
}
