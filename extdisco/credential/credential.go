// Package credential makes and checks the credentials of TURN clients: the
// time-limited ones that the XEP-0215 answer hands out and the relay verifies, after
// the "REST API for access to TURN services" scheme that coturn, prosody and pion
// share, and those of long-term users.
//
//	username = EXPIRY [":" ID]                      EXPIRY in Unix seconds
//	password = base64(HMAC-SHA1(secret, username))
//	key      = MD5(username ":" realm ":" password)   (RFC 8489 §9.2.2)
//
// Rules of this package:
//   - No input or output: who keeps secrets and users puts them into a Keyring.
//   - A username is hostile: it is bounded before anything is computed of it, and
//     what an unknown one costs does not depend on what it says.
//   - A username that can be a time-limited one is nothing else: long-term users have
//     no such names.
package credential

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Secrets are the shared secrets in force: the first signs, all verify, so that
// one can be rotated while credentials of the old one are still out.
type Secrets []string

// Credential is what a client presents to the relay.
type Credential struct {
	Username, Password string
	Expires            time.Time // whole seconds
}

// ErrNoSecret means that there is nothing to sign with.
var ErrNoSecret = errors.New("no TURN secret")

// Mint makes a credential that can open allocations until now+ttl. id names the
// session in logs and quotas; it travels in clear, so it must name no person.
func (s Secrets) Mint(now time.Time, ttl time.Duration, id string) (Credential, error) {
	if len(s) == 0 || s[0] == "" {
		return Credential{}, ErrNoSecret
	}
	expires := now.Add(ttl).Truncate(time.Second)
	username := strconv.FormatInt(expires.Unix(), 10)
	if id != "" {
		username += ":" + id
	}
	return Credential{username, password(s[0], username), expires.UTC()}, nil
}

// Parse splits a username into its expiry and the part that names the session.
// coturn accepts both orders, EXPIRY:ID and ID:EXPIRY, so both are accepted here.
func Parse(username string) (expires time.Time, id string, ok bool) {
	first, rest, _ := strings.Cut(username, ":")
	if expires, ok = expiry(first); ok {
		return expires, rest, true
	}
	if i := strings.LastIndexByte(username, ':'); i >= 0 {
		if expires, ok = expiry(username[i+1:]); ok {
			return expires, username[:i], true
		}
	}
	return time.Time{}, "", false
}

// maxDigits bounds an expiry, so that it can be calculated with: the year 33658.
const maxDigits = 12

// expiry reads Unix seconds: digits and nothing else.
func expiry(s string) (time.Time, bool) {
	if s == "" || len(s) > maxDigits {
		return time.Time{}, false
	}
	var sec int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return time.Time{}, false
		}
		sec = 10*sec + int64(s[i]-'0')
	}
	return time.Unix(sec, 0), true
}

// Key is the long-term key of RFC 8489 §9.2.2, with MD5: the only algorithm that TURN
// clients use. Who has it needs no password.
func Key(username, realm, password string) [md5.Size]byte {
	return md5.Sum([]byte(username + ":" + realm + ":" + password))
}

func password(secret, username string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
