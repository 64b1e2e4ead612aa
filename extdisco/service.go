package extdisco

import (
	"context"
	"errors"
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

// Issuer makes credentials for a service beside STUN and TURN that depend on where
// the asking session is, such as a token for the room that it is in
// (room-services.md §7.4).
type Issuer interface {
	// Issue makes them later, on another goroutine, and calls answer once; it does
	// not wait. An error is returned at once or handed to answer, not both.
	Issue(user xmpp.JID, answer func(Issued, error)) error
}

// Issued is what an Issuer makes.
type Issued struct {
	Username, Password string
	Transport          string
	Port               int
	Expires            time.Time
}

// issuer is an Issuer and the service that its credentials are for.
type issuer struct {
	typ, host string
	Issuer
}

// Service answers XEP-0215 queries of local sessions.
type Service struct {
	list *List
	// domains are the hosts whose sessions may ask.
	domains []string
	issuers []issuer
	router  *xmpp.Router

	mu        sync.Mutex
	asked     map[xmpp.JID]int // in the present minute
	minute    int64
	followers map[xmpp.JID]*follower
	pushes    int // sent so far, for their ids
}

// NewService answers sessions of the given domains from the list. Pushes and later
// answers go to router.
func NewService(list *List, domains []string, router *xmpp.Router) *Service {
	return &Service{list: list, domains: domains, router: router, asked: map[xmpp.JID]int{}, followers: map[xmpp.JID]*follower{}}
}

// Issue makes i answer requests for the credentials of a service. All calls come
// before the first query.
func (s *Service) Issue(typ, host string, i Issuer) {
	s.issuers = append(s.issuers, issuer{typ, host, i})
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
	switch el := q.Payload(); el.Name {
	case "services":
		return s.services(q, el)
	case "credentials":
		return s.credentials(q, el)
	}
	return "", xmpp.BadRequest("")
}

// services answers with all servers, or with those of the type asked for.
func (s *Service) services(q *xmpp.Stanza, el *xmpp.Element) (string, error) {
	if !s.list.allowed(q.From) {
		return "", xmpp.Forbidden("")
	}
	typ := el.Get("type")
	var entries []Entry
	if typ != "" && el.NS == NS2 {
		entries = s.follow(q, typ)
	} else {
		entries = s.list.Entries(q.From)
	}
	if len(entries) == 0 {
		return "", xmpp.ServiceUnavailable("")
	}
	if typ != "" {
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Type != typ })
	}
	return answer(el.Name, el.NS, typ, entries)
}

// credentials answers with the servers that match one of those named, and want
// credentials. LJM names one, and no server of the list but a service of an Issuer,
// which turn.access does not concern.
func (s *Service) credentials(q *xmpp.Stanza, el *xmpp.Element) (string, error) {
	wanted := el.Children("", "service")
	for _, want := range wanted {
		for _, i := range s.issuers {
			if i.typ == want.Get("type") && i.host == want.Get("host") {
				return "", s.issue(i, q)
			}
		}
	}
	if !s.list.allowed(q.From) {
		return "", xmpp.Forbidden("")
	}
	entries := s.list.Entries(q.From)
	if len(entries) == 0 {
		return "", xmpp.ServiceUnavailable("")
	}
	return answer(el.Name, el.NS, "", slices.DeleteFunc(entries, func(e Entry) bool {
		return e.Password == "" || !slices.ContainsFunc(wanted, func(want *xmpp.Element) bool { return matches(e, want) })
	}))
}

// answer encodes the entries, or refuses to answer with none.
func answer(name, ns, typ string, entries []Entry) (string, error) {
	if len(entries) == 0 {
		return "", xmpp.ItemNotFound("")
	}
	var enc xmpp.Enc
	enc.Start(name, ns).AttrIf("type", typ)
	for _, e := range entries {
		encode(&enc, e, "")
	}
	return enc.End().String(), nil
}

// issue has q answered by i.
func (s *Service) issue(i issuer, q *xmpp.Stanza) error {
	err := i.Issue(q.From, func(c Issued, err error) {
		if err != nil {
			se := xmpp.InternalServerError("")
			errors.As(err, &se)
			s.router.RouteNow(se.Reply(q))
			return
		}
		var enc xmpp.Enc
		enc.Start("credentials", q.Payload().NS)
		encode(&enc, Entry{
			Server:  Server{Type: i.typ, Host: i.host, Port: c.Port, Transport: c.Transport, Username: c.Username, Password: c.Password},
			Expires: c.Expires,
		}, "")
		s.router.RouteNow(q.Result(enc.End().String()))
	})
	if err != nil {
		return err
	}
	return xmpp.ErrLater
}

// matches compares type and host and, when given, port (XEP-0215 §3.3).
func matches(e Entry, want *xmpp.Element) bool {
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
