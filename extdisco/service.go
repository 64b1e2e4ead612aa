package extdisco

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"confab/xmpp"
)

// Namespaces of both versions; LJM asks for the first when the second fails.
const (
	NS1 = "urn:xmpp:extdisco:1"
	NS2 = "urn:xmpp:extdisco:2"
)

// answersPerMinute bounds what one session can ask for (turn.md §3.2).
const answersPerMinute = 10

// Service answers XEP-0215 queries of local sessions.
type Service struct {
	list *List
	// domains are the hosts whose sessions may ask.
	domains []string

	mu     sync.Mutex
	asked  map[xmpp.JID]int // in the present minute
	minute int64
}

// NewService answers sessions of the given domains from the list.
func NewService(list *List, domains []string) *Service {
	return &Service{list: list, domains: domains, asked: map[xmpp.JID]int{}}
}

// HandleIQ answers one query; it is the payload handler of NS1 and NS2.
func (s *Service) HandleIQ(_ context.Context, q *xmpp.Stanza) (inner string, err error) {
	if q.Type != xmpp.TypeGet {
		return "", xmpp.FeatureNotImplemented("")
	}
	if !slices.Contains(s.domains, q.From.Domain) || q.From.IsBare() {
		return "", xmpp.Forbidden("")
	}
	if !s.admit(q.From) {
		return "", xmpp.ResourceConstraint("")
	}
	el := q.Payload()
	entries := s.list.entries(q.From)
	if len(entries) == 0 {
		return "", xmpp.ServiceUnavailable("")
	}
	switch el.Name {
	case "services":
		if typ := el.Get("type"); typ != "" {
			entries = slices.DeleteFunc(entries, func(e entry) bool { return e.Type != typ })
		}
	case "credentials":
		want := el.Child("", "service")
		entries = slices.DeleteFunc(entries, func(e entry) bool { return want == nil || e.Password == "" || !matches(e, want) })
	default:
		return "", xmpp.BadRequest("")
	}
	if len(entries) == 0 {
		return "", xmpp.ItemNotFound("")
	}
	var enc xmpp.Enc
	enc.Start(el.Name, el.NS)
	encode(&enc, entries)
	return enc.End().String(), nil
}

// matches compares type and host and, when given, port (XEP-0215 §3.3).
func matches(e entry, want *xmpp.Element) bool {
	port := want.Get("port")
	return e.Type == want.Get("type") && e.Host == want.Get("host") && (port == "" || port == strconv.Itoa(e.Port))
}

// admit forgets everybody once a minute: the table is as small as the number of
// sessions that asked in it.
func (s *Service) admit(from xmpp.JID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.list.now()
	if m := now.Unix() / int64(time.Minute/time.Second); m != s.minute {
		s.minute = m
		clear(s.asked)
	}
	s.asked[from]++
	return s.asked[from] <= answersPerMinute
}
