package relay

import (
	"net/netip"

	"confab/extdisco/stun"
)

// Alternate is a relay elsewhere.
type Alternate struct {
	Addr netip.AddrPort
	// Name is what its certificate is for (ALTERNATE-DOMAIN, RFC 8489 §14.16): clients on
	// TLS and DTLS check it.
	Name string
	// Secure says that it takes TLS and DTLS at Addr, else UDP and TCP.
	Secure bool
}

// sendOn answers an Allocate request with 300 and the address of a relay elsewhere
// (RFC 8489 §10), one after the other, of those that the client can reach the way it has
// come: by its address family, with TLS or without. It reports whether there is one.
// Strangers are not told: the request was authenticated.
func (q *request) sendOn() bool {
	kind := q.leg.network()
	secure, family := kind == "tls" || kind == "dtls", familyOf(q.from.Addr())
	var fit []Alternate
	for _, a := range q.server.policy().Alternates {
		if a.Secure == secure && familyOf(a.Addr.Addr()) == family {
			fit = append(fit, a)
		}
	}
	if len(fit) == 0 {
		return false
	}
	a := fit[int(q.server.sent.Add(1)-1)%len(fit)]
	b := q.start(stun.Error)
	b.AddError(stun.CodeTryAlternate)
	b.AddAddress(stun.AttrAlternateServer, a.Addr)
	if a.Name != "" {
		b.AddString(stun.AttrAlternateDomain, a.Name)
	}
	// RFC 8489 §10: with the server's realm the client may go on there at once.
	b.AddString(stun.AttrRealm, q.server.cfg.Realm)
	q.finish()
	q.server.counters.refused(stun.CodeTryAlternate)
	return true
}
