package xmpp

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// IQHandler answers an IQ get or set to a host. It returns the encoded payload
// of the result, which may be empty, or an error: a *StanzaError becomes the
// reply. It runs on the goroutine of whoever routes, an actor's perhaps, and
// must not wait: what takes longer returns ErrLater.
type IQHandler func(ctx context.Context, s *Stanza) (inner string, err error)

// ErrLater says that the handler routes the one answer by itself, later.
var ErrLater = errors.New("answered later")

// Host is a virtual host: a domain whose users have sessions here. It answers
// for the domain itself and, as RFC 6121 §8 asks, for its users' bare addresses.
type Host struct {
	domain JID
	router *Router

	mu       sync.RWMutex
	handlers map[string]IQHandler
	info     DiscoInfo
	items    []DiscoItem
	accounts map[string][]Resource // by localpart, in order of arrival
}

// Resource is one session of an account, as its host needs it.
type Resource interface {
	Port
	// Priority is that of the session's presence; ok is false before it has sent
	// its initial presence (RFC 6121 §4.7.2.3).
	Priority() (priority int, ok bool)
}

// NewHost makes a host and makes it the router's handler of its domain.
func NewHost(r *Router, domain string) *Host {
	h := &Host{
		domain:   JID{Domain: domain},
		router:   r,
		handlers: map[string]IQHandler{},
		accounts: map[string][]Resource{},
		info:     DiscoInfo{Identities: []Identity{{Category: "server", Type: "im", Name: "Confab"}}},
	}
	h.handlers[NSInfo] = h.discoInfo
	h.handlers[NSItems] = h.discoItems
	h.handlers[NSPing] = ping
	r.Serve(domain, h)
	return h
}

// JID is the address of the host itself.
func (h *Host) JID() JID { return h.domain }

// HandleIQ makes f answer requests to the host whose payload is in namespace ns,
// and announces ns as a feature.
func (h *Host) HandleIQ(ns string, f IQHandler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handlers[ns] = f
}

// SetDisco replaces the host's own identities, features and forms. Namespaces
// with a handler are added to the features.
func (h *Host) SetDisco(info DiscoInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.info = info
}

// SetItems replaces the list of services that disco#items shows.
func (h *Host) SetItems(items []DiscoItem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.items = slices.Clone(items)
}

// Disco is what the host says of itself.
func (h *Host) Disco() DiscoInfo {
	h.mu.RLock()
	defer h.mu.RUnlock()
	spaces := make([]string, 0, len(h.handlers))
	for ns := range h.handlers {
		spaces = append(spaces, ns)
	}
	slices.Sort(spaces)
	return h.info.With(spaces...)
}

func (h *Host) discoInfo(_ context.Context, s *Stanza) (string, error) {
	node, err := discoNode(s)
	if err != nil {
		return "", err
	}
	return h.Disco().Inner(node), nil
}

func (h *Host) discoItems(_ context.Context, s *Stanza) (string, error) {
	node, err := discoNode(s)
	if err != nil {
		return "", err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return ItemsInner(node, h.items), nil
}

// discoNode checks a disco request; the host has no nodes (XEP-0030 §7).
func discoNode(s *Stanza) (string, error) {
	if s.Type != TypeGet {
		return "", NotAllowed("")
	}
	if node := s.Payload().Get("node"); node != "" {
		return "", ItemNotFound("")
	}
	return "", nil
}

// ping is XEP-0199. LJM counts an error reply as a lost ping.
func ping(_ context.Context, s *Stanza) (string, error) {
	if s.Type != TypeGet {
		return "", BadRequest("")
	}
	return "", nil
}

// HandleStanza implements Handler for the domain.
func (h *Host) HandleStanza(ctx context.Context, s *Stanza, _ bool) error {
	switch {
	case s.To.Local == "" && s.To.Resource == "":
		return h.handleOwn(ctx, s)
	case s.To.Local == "":
		return ItemNotFound("")
	case s.To.Resource == "":
		return h.handleAccount(ctx, s)
	}
	// Nobody is bound to the full address (RFC 6121 §8.5.3.2).
	if s.Kind == Message && (s.Type == "" || s.Type == "normal" || s.Type == "chat") {
		return h.deliverBare(s)
	}
	return ErrGone
}

func (h *Host) handleOwn(ctx context.Context, s *Stanza) error {
	if !s.IsRequest() {
		if s.Kind == Message && s.Type != TypeError {
			return ServiceUnavailable("") // nobody reads mail to the domain
		}
		return nil
	}
	ns, _ := s.PayloadName()
	h.mu.RLock()
	f := h.handlers[ns]
	h.mu.RUnlock()
	if f == nil {
		return ServiceUnavailable("") // RFC 6120 §8.4
	}
	inner, err := f(ctx, s)
	if errors.Is(err, ErrLater) {
		return nil
	}
	if err != nil {
		return err
	}
	h.router.RouteNow(s.Result(inner))
	return nil
}

// handleAccount does what the server does for a bare address (RFC 6121 §8.5.1,
// §8.5.2). Presence subscriptions don't exist here, so they are not answered.
func (h *Host) handleAccount(ctx context.Context, s *Stanza) error {
	switch s.Kind {
	case Message:
		return h.deliverBare(s)
	case IQ:
		if !s.IsRequest() {
			return nil
		}
		inner, err := h.accountIQ(ctx, s)
		if err != nil {
			return err
		}
		h.router.RouteNow(s.Result(inner))
	}
	return nil
}

// nsRoster is asked for by plain clients at login (RFC 6121 §2.2); contact
// lists are not kept, so each is empty and can't be changed.
const nsRoster = "jabber:iq:roster"

func (h *Host) accountIQ(ctx context.Context, s *Stanza) (string, error) {
	own := s.From.Bare() == s.To
	ns, _ := s.PayloadName()
	switch {
	case !own || s.Type != TypeGet:
		return "", ServiceUnavailable("")
	case ns == NSPing:
		return ping(ctx, s)
	case ns == NSInfo:
		return DiscoInfo{
			Identities: []Identity{{Category: "account", Type: "registered"}},
			Features:   []string{NSInfo, NSItems, NSPing},
		}.Inner(""), nil
	case ns == NSItems:
		return ItemsInner("", nil), nil
	case ns == nsRoster:
		return new(Enc).Start("query", nsRoster).End().String(), nil
	}
	return "", ServiceUnavailable("")
}

// deliverBare hands a message to all sessions of the account that have sent a
// presence of non-negative priority (RFC 6121 §8.5.2.1.1). There is no offline
// storage.
func (h *Host) deliverBare(s *Stanza) error {
	if s.Type == TypeGroupchat {
		return ServiceUnavailable("")
	}
	if s.Type == TypeError {
		return nil
	}
	delivered := false
	for _, r := range h.Resources(s.To.Local) {
		if prio, ok := r.Priority(); ok && prio >= 0 && r.Deliver(s) == nil {
			delivered = true
		}
	}
	if !delivered {
		return ServiceUnavailable("")
	}
	return nil
}

// Resources are the sessions of an account.
func (h *Host) Resources(local string) []Resource {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Clone(h.accounts[local])
}

// bind makes r known to the router and as one of its account's sessions. From
// then on others may find it, and unbind it.
func (h *Host) bind(r Resource) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.router.Bind(r); err != nil {
		return err
	}
	local := r.JID().Local
	h.accounts[local] = append(h.accounts[local], r)
	return nil
}

// unbind undoes bind.
func (h *Host) unbind(r Resource) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.router.unbind(r)
	local := r.JID().Local
	rest := slices.DeleteFunc(slices.Clone(h.accounts[local]), func(o Resource) bool { return o == r })
	if len(rest) == 0 {
		delete(h.accounts, local)
	} else {
		h.accounts[local] = rest
	}
}
