package xmpp

import (
	"errors"
	"fmt"
	"strings"

	"mellium.im/xmpp/jid"
)

// JID is a comparable XMPP address in canonical form (RFC 7622). The zero value
// is "no address".
type JID struct{ Local, Domain, Resource string }

// maxJIDPart is the longest localpart, domainpart or resourcepart in bytes
// (RFC 7622 §3.1).
const maxJIDPart = 1023

var errDomain = errors.New("no domain")

var errJIDTooLong = errors.New("address part longer than 1023 bytes")

// ParseJID parses and canonicalises s. ASCII addresses that are already
// canonical, which is nearly all of them, are only split; the others are
// prepared by mellium's PRECIS and IDNA profiles.
func ParseJID(s string) (JID, error) {
	j := split(s)
	if j.canonical() {
		return j, nil
	}
	if len(j.Local) > maxJIDPart || len(j.Domain) > maxJIDPart || len(j.Resource) > maxJIDPart {
		return JID{}, errJIDTooLong
	}
	if strings.Contains(j.Domain, "_") {
		// IDNA has no underscore; tenants do, for the dots of their paths: config.js
		// writes them so into addresses (room-services.md §4.1).
		domain := strings.ToLower(j.Domain)
		if !(JID{Domain: domain}).canonical() {
			return JID{}, fmt.Errorf("address %.80q: %w", s, errDomain)
		}
		rest := j
		rest.Domain = "x.invalid"
		m, err := jid.Parse(rest.String())
		if err != nil {
			return JID{}, fmt.Errorf("address %.80q: %w", s, err)
		}
		return JID{m.Localpart(), domain, m.Resourcepart()}, nil
	}
	m, err := jid.Parse(s)
	if err != nil {
		return JID{}, fmt.Errorf("address %.80q: %w", s, err)
	}
	if strings.HasSuffix(m.Domainpart(), ".") { // RFC 7622 §3.2: one is taken off, and there was another
		return JID{}, fmt.Errorf("address %.80q: %w", s, errDomain)
	}
	return JID{m.Localpart(), m.Domainpart(), m.Resourcepart()}, nil
}

// MustJID is ParseJID for constants and tests.
func MustJID(s string) JID {
	j, err := ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// split cuts at the first slash, then at the first at-sign (RFC 7622 §3.1).
func split(s string) JID {
	var j JID
	if i := strings.IndexByte(s, '/'); i >= 0 {
		s, j.Resource = s[:i], s[i+1:]
		if j.Resource == "" { // "a@b/" is not an address: let the slow path say so
			j.Resource = "\x00"
		}
	}
	if i := strings.IndexByte(s, '@'); i >= 0 {
		j.Local, s = s[:i], s[i+1:]
		if j.Local == "" {
			j.Local = "\x00"
		}
	}
	j.Domain = s
	return j
}

func (j JID) canonical() bool {
	if j.Domain == "" || len(j.Domain) > 253 || len(j.Local) > maxJIDPart || len(j.Resource) > maxJIDPart {
		return false
	}
	for i := 0; i < len(j.Local); i++ {
		if !localByte[j.Local[i]] {
			return false
		}
	}
	label := 0
	for i := 0; i < len(j.Domain); i++ {
		c := j.Domain[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_':
			label++
		case c == '-' && label > 0 && i+1 < len(j.Domain) && j.Domain[i+1] != '.' && j.Domain[i+1] != '-':
			label++ // no leading, trailing or double hyphen: those are IDNA's business
		case c == '.' && label > 0 && i+1 < len(j.Domain):
			label = 0
			continue
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	for i := 0; i < len(j.Resource); i++ {
		if c := j.Resource[i]; c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

// localByte marks the ASCII that the UsernameCaseMapped profile leaves as it is
// (RFC 7622 §3.3.1 takes some punctuation out).
var localByte = func() (t [256]bool) {
	for c := 0x21; c <= 0x7e; c++ {
		t[c] = true
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = false
	}
	for _, c := range `"&'/:<>@` {
		t[c] = false
	}
	return t
}()

// IsZero reports whether j is no address.
func (j JID) IsZero() bool { return j == JID{} }

// IsBare reports whether j has no resource.
func (j JID) IsBare() bool { return j.Resource == "" }

// Bare is j without its resource.
func (j JID) Bare() JID { return JID{Local: j.Local, Domain: j.Domain} }

// WithResource is j with resource r, which is already prepared.
func (j JID) WithResource(r string) JID { return JID{j.Local, j.Domain, r} }

// String is the address as it stands in a stanza, before XML escaping.
func (j JID) String() string {
	switch {
	case j.Local == "" && j.Resource == "":
		return j.Domain
	case j.Resource == "":
		return j.Local + "@" + j.Domain
	case j.Local == "":
		return j.Domain + "/" + j.Resource
	}
	return j.Local + "@" + j.Domain + "/" + j.Resource
}

// appendEscaped appends j escaped for an attribute value.
func (j JID) appendEscaped(b []byte) []byte {
	if j.Local != "" {
		b = appendEscaped(b, j.Local)
		b = append(b, '@')
	}
	b = appendEscaped(b, j.Domain)
	if j.Resource != "" {
		b = append(b, '/')
		b = appendEscaped(b, j.Resource)
	}
	return b
}

// PrepareResource canonicalises a resourcepart such as a nickname
// (RFC 7622 §3.4).
func PrepareResource(r string) (string, error) {
	if r == "" {
		return "", errors.New("empty resource")
	}
	j, err := ParseJID("x.invalid/" + r)
	return j.Resource, err
}
