// Package credential makes and checks the time-limited TURN credentials that the
// XEP-0215 answer hands out and the relay verifies: the "REST API for access to
// TURN services" scheme that coturn, prosody and pion share.
//
//	username = EXPIRY [":" ID]                      EXPIRY in Unix seconds
//	password = base64(HMAC-SHA1(secret, username))
//	key      = MD5(username ":" realm ":" password)   (RFC 8489 §9.2.2)
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
// coturn accepts both orders, so both are accepted here.
func Parse(username string) (expires time.Time, id string, ok bool) {
	first, rest, _ := strings.Cut(username, ":")
	if sec, err := strconv.ParseInt(first, 10, 64); err == nil && sec >= 0 {
		return time.Unix(sec, 0), rest, true
	}
	if i := strings.LastIndexByte(username, ':'); i >= 0 {
		if sec, err := strconv.ParseInt(username[i+1:], 10, 64); err == nil && sec >= 0 {
			return time.Unix(sec, 0), username[:i], true
		}
	}
	return time.Time{}, "", false
}

// Keys are the long-term keys that MESSAGE-INTEGRITY of this username may be
// made with, one for each secret. They are the same whether the username has
// expired or not; the caller looks at Parse.
func (s Secrets) Keys(username, realm string) [][]byte {
	out := make([][]byte, len(s))
	for i, secret := range s {
		sum := md5.Sum([]byte(username + ":" + realm + ":" + password(secret, username)))
		out[i] = sum[:]
	}
	return out
}

func password(secret, username string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
