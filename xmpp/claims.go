package xmpp

import "regexp"

// Claims is what a verified token says about a session (room-services.md §4.5).
// It is made by package xmpp/auth, never changed, and shared by all who look.
type Claims struct {
	Issuer string // iss
	Domain string // sub: the tenant, or the main domain; "*" is any
	Room   string // room: in lower case; "*" is any, "" none

	// Pattern takes the place of Room when context.room.regex is set: it matches
	// whole names. BadPattern says that the claim is no regular expression.
	Pattern    *regexp.Regexp
	BadPattern bool

	// Scope is the tenant whose own key has signed the token, and whose rooms alone it
	// opens; "" for a key of the whole server.
	Scope string

	Tenant string            // context.tenant
	User   map[string]string // context.user: numbers and booleans as text
	Group  string            // context.group

	// Features is context.features; nil when the token has none. A feature that it
	// lacks is not allowed then.
	Features map[string]bool
	// Moderator says that context.user names a moderator.
	Moderator bool
	// Identity is the encoded <identity/> that the user's presences get, or "".
	Identity string
}

// EncodeIdentity is the <identity/> of a user (mod_presence_identity): each key
// an element, in the order of names; keys that can't be element names are left
// out, as nobody could read them. No user gives "".
func EncodeIdentity(names []string, user map[string]string, group string) string {
	if len(user) == 0 {
		return ""
	}
	var e Enc
	e.Start("identity", "").Start("user", "")
	for _, name := range names {
		if isElementName(name) {
			e.Leaf(name, "", user[name])
		}
	}
	e.End()
	if group != "" {
		e.Leaf("group", "", group)
	}
	return e.End().String()
}

// isElementName is ^[A-Za-z_][A-Za-z0-9._-]*$: stock's set but for the colon,
// which would make a prefix that nothing declares.
func isElementName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}
