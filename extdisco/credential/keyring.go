package credential

import (
	"crypto/md5"
	"errors"
	"strings"
	"sync/atomic"
	"time"
)

// MaxUsername bounds a username, in bytes (RFC 8489 §14.3: fewer than 509).
const MaxUsername = 508

// Secret is a shared secret.
type Secret struct {
	Value string
	// Until is when it stops to verify; zero: never. Secrets end some time after they
	// were replaced.
	Until time.Time
}

// User is a long-term user, as those of coturn's lt-cred-mech.
type User struct {
	Name, Realm string
	Key         [md5.Size]byte // Key(Name, Realm, password)
}

// ErrUserName means that no long-term user can have the name.
var ErrUserName = errors.New("no name for a TURN user")

// CheckUserName returns ErrUserName for a name that the relay would take for a
// time-limited one, or that does not fit in a USERNAME. A colon ends the name in what
// the key is made of (RFC 8489 §9.2.2), so that it can't be in it.
func CheckUserName(name string) error {
	if _, _, timed := Parse(name); timed || name == "" || len(name) > MaxUsername || strings.Contains(name, ":") {
		return ErrUserName
	}
	return nil
}

// Identity is who a username belongs to.
type Identity struct {
	// ID is what quotas count: the id part of a time-limited username, without one
	// the whole; the name of a long-term user behind a colon, with which no other
	// begins. So nobody who may choose the id part uses up the quota of a user.
	ID      string
	Expires time.Time // zero: never
	Keys    [][]byte  // that MESSAGE-INTEGRITY may be made with, the present one first
}

// Keyring has all that may sign requests. It is looked up for every request, so it
// lies in memory; it changes as a whole, so that rotation and reload need no restart.
// The zero Keyring knows nobody. Its methods may be called at any time.
type Keyring struct{ state atomic.Pointer[ring] }

// ring is immutable.
type ring struct {
	secrets []Secret
	users   map[userKey][]byte
}

type userKey struct{ name, realm string }

// Set replaces everything. The first secret signs, all verify. Users whose name can
// be none (CheckUserName) are not found afterwards.
func (k *Keyring) Set(secrets []Secret, users []User) {
	r := &ring{users: make(map[userKey][]byte, len(users))}
	for _, s := range secrets {
		if s.Value != "" {
			r.secrets = append(r.secrets, s)
		}
	}
	for _, u := range users {
		r.users[userKey{u.Name, u.Realm}] = u.Key[:]
	}
	k.state.Store(r)
}

// Empty reports whether nobody can be authenticated at all.
func (k *Keyring) Empty() bool {
	r := k.state.Load()
	return r == nil || len(r.secrets) == 0 && len(r.users) == 0
}

// Signer is the secret that signs, "" without one.
func (k *Keyring) Signer() string {
	if r := k.state.Load(); r != nil && len(r.secrets) > 0 {
		return r.secrets[0].Value
	}
	return ""
}

// Mint makes a credential with the secret that signs.
func (k *Keyring) Mint(now time.Time, ttl time.Duration, id string) (Credential, error) {
	return Secrets{k.Signer()}.Mint(now, ttl, id)
}

// Lookup finds who a username belongs to. Whether a time-limited one has expired is for
// the caller to decide (Identity.Expires), as a live allocation may outlive it; a secret
// that has ended gives no key any more. It computes, for each secret in force, one
// HMAC-SHA1 of at most MaxUsername bytes and one MD5: about a microsecond, less than
// the check of the request's own MESSAGE-INTEGRITY costs, so nothing is remembered.
func (k *Keyring) Lookup(username, realm string, now time.Time) (Identity, bool) {
	r := k.state.Load()
	if r == nil || len(username) > MaxUsername {
		return Identity{}, false
	}
	expires, id, timed := Parse(username)
	if !timed {
		key, ok := r.users[userKey{username, realm}]
		if !ok {
			return Identity{}, false
		}
		return Identity{ID: ":" + username, Keys: [][]byte{key}}, true
	}
	who := Identity{ID: strings.TrimLeft(id, ":"), Expires: expires}
	if who.ID == "" {
		who.ID = username
	}
	for _, s := range r.secrets {
		if s.Until.IsZero() || now.Before(s.Until) {
			key := Key(username, realm, password(s.Value, username))
			who.Keys = append(who.Keys, key[:])
		}
	}
	return who, len(who.Keys) > 0
}
