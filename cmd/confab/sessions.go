package main

// Who may come in, over what.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"confab/extdisco"
	"confab/muc"
	"confab/storage"
	"confab/xmpp"
	"confab/xmpp/auth"
	"confab/xmpp/scram"
)

// clientOf tells a room about the session behind a port.
func (s *server) clientOf(p xmpp.Port) muc.Client {
	se, ok := p.(*xmpp.Session)
	if !ok {
		return muc.Client{}
	}
	c := muc.ClientOf(se)
	c.Addr = s.counted(se.Remote())
	if who := se.Account(); who.Claims == nil && !who.Guest && se.JID().Domain == s.names.domain {
		c.Identity = identityOf(se.JID())
	}
	return c
}

// counted is the unit by which tries of a room's password are counted, "" for an
// address that is exempt: then it is the account. A customer has a whole IPv6 /64
// to try from.
func (s *server) counted(addr netip.Addr) string {
	if !addr.IsValid() || addr.IsLoopback() || slices.ContainsFunc(s.exempt, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return ""
	}
	if addr.Is6() {
		p, _ := addr.Prefix(64)
		return p.String()
	}
	return addr.String()
}

// session is the one of a full address, or nil.
func (s *server) session(full xmpp.JID) *xmpp.Session {
	p, ok := s.router.Port(full)
	if !ok {
		return nil
	}
	se, _ := p.(*xmpp.Session) // the focus and the bridge have ports of another kind
	return se
}

// mayAsk counts a conference request that comes by stanza among those that the same
// address makes by HTTP.
func (s *server) mayAsk(from xmpp.JID) bool {
	se := s.session(from)
	return se == nil || s.web.MayAsk(se.Remote())
}

// isHost reports whether a session logged in with an account that opens rooms.
func (s *server) isHost(full xmpp.JID) bool {
	se := s.session(full)
	return se != nil && se.Account().Host
}

// accounts lets xmpp/auth look accounts up. That keeps the texts of errors out of
// the log, for it can't tell which hold keys; those of the database are told here.
type accounts struct {
	st  Storage
	log *slog.Logger
}

func (a accounts) Account(ctx context.Context, user, host string) (auth.Record, bool, error) {
	r, err := a.st.Account(ctx, user, host)
	if errors.Is(err, storage.ErrNotFound) {
		return auth.Record{}, false, nil
	}
	if err != nil {
		if ctx.Err() == nil {
			a.log.Error("account not read", "jid", user+"@"+host, "err", err)
		}
		return auth.Record{}, false, err
	}
	return auth.Record{Host: r.IsHost, Keys: scram.Keys{
		Salt: r.Salt, Iterations: r.Iterations,
		SHA1:   scram.Pair{StoredKey: r.SHA1StoredKey, ServerKey: r.SHA1ServerKey},
		SHA256: scram.Pair{StoredKey: r.SHA256StoredKey, ServerKey: r.SHA256ServerKey},
	}}, true, nil
}

func (s *server) buildSessions() error {
	xc := xmpp.DefaultConfig()
	x, l := s.cfg.XMPP, s.cfg.Limits
	if s.tokens != nil {
		s.extdisco.Issue(shortLivedToken, fileService, s.tokens)
	}
	password := auth.NewPassword(accounts{s.storage, s.logs.of("storage")}, []byte(s.secrets.Cookie), s.hostLoggedIn)

	token := auth.Token{Verifier: s.jwts.verifier, Guests: s.cfg.Auth.Guests && !s.cfg.RequireHost, Log: s.logs.of("xmpp")}
	add := func(domain string, a xmpp.Authenticator) *xmpp.Host {
		h := xmpp.NewHost(s.router, domain)
		for _, ns := range []string{extdisco.NS1, extdisco.NS2} {
			h.HandleIQ(ns, s.extdisco.HandleIQ)
		}
		xc.Hosts = append(xc.Hosts, xmpp.LoginHost{Host: h, Auth: a, Services: s.ice.Services, Tailor: s.tailor})
		return h
	}
	main := add(s.names.domain, auth.Either{token, password})
	s.announce = func() { main.SetDisco(s.disco()) }
	main.SetItems([]xmpp.DiscoItem{{JID: xmpp.JID{Domain: s.names.conference}, Name: "Meetings"}})
	guests := token // lets in who has no account
	if s.names.guests {
		guests = auth.Token{Verifier: s.jwts.verifier, Guests: true, GuestHost: true, Log: s.logs.of("xmpp")}
		add(s.names.guest, guests)
	}
	if s.visitorsOn() {
		// Who must show something to take part must to look on.
		visitors, others := add(visitorHost, guests), s.announce
		s.announce = func() {
			others()
			visitors.SetDisco(s.visitorDisco())
		}
		h := &xc.Hosts[len(xc.Hosts)-1]
		h.Own, h.Tailor = true, nil
		xc.Promised = s.promised
	}
	s.announce()
	// Recorders and transcribers come to meetings as people do, but with a password;
	// the control connections of external programs are beside the server's own parts
	// ("confab service add").
	add(s.names.recorder, password)
	add(s.names.auth, password)

	if s.xmppTLS() {
		xc.TLS = s.certs.TLSConfig()
	}
	xc.Origins = s.cfg.Web.Origins
	xc.RemoteAddr, xc.Secure = remoteAddr, s.secureRequest
	xc.PushServices = x.PushServices
	xc.Stanza.Bytes, xc.StanzaUnauthenticated = l.Stanza, l.StanzaUnauthenticated
	xc.IdleTimeout, xc.ResumeTimeout = x.IdleTimeout.Duration, x.ResumeTimeout.Duration
	xc.LoginRate, xc.PresenceRate, xc.IQRate, xc.MessageRate =
		orUnlimited(l.LoginRate), orUnlimited(l.PresenceRate), orUnlimited(l.IQRate), orUnlimited(l.MessageRate)
	xc.CommandRate, xc.Commands = orUnlimited(l.CommandRate), s.commands()
	xc.ByteRate = orUnlimited(l.ByteRate)
	xc.ConnectionsPerAddress = orUnlimited(l.ConnectionsPerIP)
	xc.TriesPerAddress, xc.TriesPerAccount = orUnlimited(l.PasswordTries), orUnlimited((l.PasswordTries+1)/2)
	xc.Exempt = append(xc.Exempt, s.exempt...)
	xc.Log = s.logs.of("xmpp")
	s.sessions = xmpp.NewServer(xc, s.router)
	s.opened(s.sessions)
	return nil
}

// orUnlimited turns the file's 0, no limit, into a number that no limit reaches:
// the parts take 0 for their default.
func orUnlimited(n int) int {
	if n == 0 {
		return math.MaxInt32
	}
	return n
}

// hostLoggedIn removes the file with the first host's password: from now on it is
// known to somebody.
func (s *server) hostLoggedIn(user, host string) {
	if user != firstHostName || host != s.cfg.Domain {
		return
	}
	if err := removeInitialCredentials(s.cfg.DataDir); err != nil {
		s.logs.of("main").Warn("initial credentials not removed", "err", err)
	}
}

// remoteAddr is the client's address: the web front has already looked at the
// headers of trusted proxies.
func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// secureRequest holds behind a TLS proxy, too: with tls.mode = "off" nobody else
// is meant to reach the port (prosody's consider_websocket_secure).
func (s *server) secureRequest(r *http.Request) bool {
	return r.TLS != nil || s.cfg.TLS.Mode == "off"
}

func (s *server) openXMPP() (err error) {
	if s.cfg.XMPP.Port == 0 {
		return nil
	}
	s.c2s, err = net.Listen("tcp", net.JoinHostPort(s.loopbackHost(), strconv.Itoa(s.cfg.XMPP.Port)))
	if err != nil {
		return fmt.Errorf("XMPP clients on port %d (xmpp.port): %w", s.cfg.XMPP.Port, err)
	}
	s.opened(s.c2s)
	return nil
}

// openXMPPTLS opens the port for clients that begin with TLS (XEP-0368).
func (s *server) openXMPPTLS() error {
	x := s.cfg.XMPP
	if x.TLSPort == 0 || !s.xmppTLS() {
		return nil
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(s.loopbackHost(), strconv.Itoa(x.TLSPort)))
	switch {
	case err == nil:
		s.c2sTLS = ln
		s.opened(ln)
	case s.cfg.IsSet("xmpp.tls_port"):
		return fmt.Errorf("XMPP clients with TLS on port %d (xmpp.tls_port): %w", x.TLSPort, err)
	default:
		s.logs.of("xmpp").Warn("default port for XMPP over TLS left closed", "port", x.TLSPort, "err", err)
	}
	return nil
}

// xmppTLS reports whether XMPP over TCP can be encrypted. With tls.mode = "off" it
// can only with a certificate that somebody chose.
func (s *server) xmppTLS() bool { return s.cfg.TLS.Mode != "off" || s.cfg.TLS.Cert != "" }

// loopbackHost is the host to bind for a server that nobody outside should reach,
// else "", every address.
func (s *server) loopbackHost() string {
	if only := s.loopbackOnly(); only != nil {
		return only[0]
	}
	return ""
}
