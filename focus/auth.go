package focus

import (
	"sync"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// authority keeps the sessions of hosts who logged in on another connection than
// the one that is in the meeting ("I am the host", focus.md §22). A session id is
// a bearer secret bound to the browser's machine-uid.
type authority struct {
	lifetime time.Duration
	max      int

	mu    sync.Mutex
	byID  map[string]*authSession
	byJID map[xmpp.JID]*authSession
}

type authSession struct {
	id, uid  string
	identity xmpp.JID // bare, the account
	jid      xmpp.JID // full, who used it last
	room     xmpp.JID
	used     time.Time
}

func newAuthority(lifetime time.Duration, maxSessions int) *authority {
	return &authority{lifetime: lifetime, max: maxSessions, byID: map[string]*authSession{}, byJID: map[xmpp.JID]*authSession{}}
}

// login is what a request showed about its sender.
type login struct {
	identity  xmpp.JID // zero = a guest, or a token by HTTP
	sessionID string
	opens     bool // rooms
}

// standing is what is known of the sender of a conference request by its session.
type standing uint8

const (
	isGuest standing = iota
	isHost           // logged in with an account
	isToken          // came with a token
)

func (c *Config) standing(from, room xmpp.JID) standing {
	switch {
	case from.IsZero():
	case c.isHost(from):
		return isHost
	case c.hasToken(from, room):
		return isToken
	}
	return isGuest
}

// authenticate judges a conference request. from is zero for HTTP.
func (a *authority) authenticate(now time.Time, req *jitmeet.ConferenceRequest, from, room xmpp.JID, who standing) (login, *xmpp.StanzaError) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var as *authSession
	switch {
	case req.SessionID != "" && who != isToken:
		if as = a.byID[req.SessionID]; as == nil || a.expired(now, as) {
			return login{}, jitmeet.SessionInvalid()
		}
		if as.uid != req.MachineUID {
			return login{}, xmpp.NotAcceptable("")
		}
	case who == isToken:
		if as = a.byID[req.SessionID]; as != nil && !a.expired(now, as) && as.uid == req.MachineUID {
			break // it has signed in with an account, too
		}
		// The token comes with each connection: there is nothing to remember, and no
		// id that could be wrong. jicofo keeps a session of a minute.
		return login{identity: from.Bare(), opens: true}, nil
	case who == isHost && req.MachineUID == "":
		// jicofo refuses. A plain XMPP client whose join asks on its behalf has no
		// machine-uid, and needs no session either: it is logged in where it is.
		return login{identity: from.Bare(), opens: true}, nil
	case who == isHost:
		if as = a.find(now, from.Bare(), req.MachineUID); as == nil {
			if len(a.byID) >= a.max {
				a.dropOldest()
			}
			as = &authSession{id: newUUID(), uid: req.MachineUID, identity: from.Bare()}
			a.byID[as.id] = as
		}
	default:
		return login{}, nil
	}
	as.used, as.room = now, room
	if !from.IsZero() && as.jid != from {
		if a.byJID[as.jid] == as {
			delete(a.byJID, as.jid)
		}
		as.jid = from
		a.byJID[from] = as
	}
	return login{as.identity, as.id, true}, nil
}

// find is the session that this account has on this machine.
func (a *authority) find(now time.Time, identity xmpp.JID, uid string) *authSession {
	for _, as := range a.byID {
		if as.identity == identity && as.uid == uid && !a.expired(now, as) {
			return as
		}
	}
	return nil
}

func (a *authority) expired(now time.Time, as *authSession) bool {
	return now.Sub(as.used) >= a.lifetime
}

func (a *authority) dropOldest() {
	var oldest *authSession
	for _, as := range a.byID {
		if oldest == nil || as.used.Before(oldest.used) {
			oldest = as
		}
	}
	if oldest != nil {
		a.drop(oldest)
	}
}

func (a *authority) drop(as *authSession) {
	delete(a.byID, as.id)
	if a.byJID[as.jid] == as {
		delete(a.byJID, as.jid)
	}
}

// authenticated reports whether a session of a host is bound to the address.
func (a *authority) authenticated(jid xmpp.JID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byJID[jid] != nil
}

// logout ends a session.
func (a *authority) logout(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	as := a.byID[id]
	if as != nil {
		a.drop(as)
	}
	return as != nil
}

// sweep drops the sessions that have not been used for their lifetime.
func (a *authority) sweep(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, as := range a.byID {
		if a.expired(now, as) {
			a.drop(as)
		}
	}
}

// ended drops the sessions last used for a room whose meeting is over.
func (a *authority) ended(room xmpp.JID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, as := range a.byID {
		if as.room == room {
			a.drop(as)
		}
	}
}

func (a *authority) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.byID)
}
