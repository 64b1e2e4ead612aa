package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"confab/xmpp"
)

// payload is the body of a token, as far as it is read. Claims stay raw: a claim
// of the wrong type has a message of its own, or none.
type payload struct {
	Exp, Nbf, Iat json.RawMessage
	Iss, Aud      json.RawMessage
	Room, Sub     json.RawMessage
	Context       json.RawMessage
	UserID        json.RawMessage
}

// errNoObject means that a part of a token is JSON of another kind, or not only one value.
var errNoObject = errors.New("no JSON object")

// object decodes a JSON object. Names are compared exactly, and the last of two
// wins; encoding/json would fill "iss" from "ISS", too.
func object(raw []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	var m map[string]json.RawMessage
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || m == nil {
		return nil, errNoObject
	}
	return m, nil
}

func parsePayload(raw []byte) (payload, error) {
	m, err := object(raw)
	return payload{
		Exp: m["exp"], Nbf: m["nbf"], Iat: m["iat"], Iss: m["iss"], Aud: m["aud"],
		Room: m["room"], Sub: m["sub"], Context: m["context"], UserID: m["user_id"],
	}, err
}

// text is a JSON string.
func text(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// texts is a JSON string, or several.
func texts(raw json.RawMessage) []string {
	if s, ok := text(raw); ok {
		return []string{s}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var out []string
	for _, r := range list {
		if s, ok := text(r); ok {
			out = append(out, s)
		}
	}
	return out
}

// seconds is a JSON number; times have no fractions worth keeping.
func seconds(raw json.RawMessage) (n int64, ok bool) {
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, false // beyond float64
	}
	return int64(max(math.MinInt32, min(maxTime, math.Floor(f)))), true
}

// maxTime keeps a time of the year 300000 from becoming one of long ago.
const maxTime = float64(1 << 48)

// scalar is the text of a string, number or boolean; Lua's tostring.
func scalar(raw json.RawMessage) (string, bool) {
	if s, ok := text(raw); ok {
		return s, true
	}
	if len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n' {
		return "", false
	}
	return string(raw), true
}

// truth is true or "true", as the clients read it.
func truth(raw json.RawMessage) bool {
	s, ok := scalar(raw)
	return ok && s == "true"
}

// moderators are the values of context.user.affiliation that make a moderator
// (mod_token_affiliation).
var moderators = []string{"owner", "moderator", "teacher"}

// claims reads what the rest of the server wants to know. The token is genuine;
// what is of another type than expected counts as absent.
func (p *payload) claims(issuer string) *xmpp.Claims {
	c := &xmpp.Claims{Issuer: issuer}
	c.Room, _ = text(p.Room)
	c.Domain, _ = text(p.Sub)
	ctx, err := object(p.Context)
	if err != nil {
		// Firebase tokens name the user beside a context, which they lack.
		if id, ok := scalar(p.UserID); ok && len(p.Context) == 0 {
			c.User = map[string]string{"id": id}
		}
	}
	c.Tenant, _ = text(ctx["tenant"])
	c.Group, _ = scalar(ctx["group"])
	if user, err := object(ctx["user"]); err == nil {
		c.User = make(map[string]string, len(user))
		for k, v := range user {
			if s, ok := scalar(v); ok {
				c.User[k] = s
			}
		}
		c.Moderator = c.User["moderator"] == "true" || slices.Contains(moderators, c.User["affiliation"])
	}
	if features, err := object(ctx["features"]); err == nil {
		c.Features = make(map[string]bool, len(features))
		for k, v := range features {
			c.Features[k] = truth(v)
		}
	}
	c.Identity = xmpp.EncodeIdentity(slices.Sorted(maps.Keys(c.User)), c.User, c.Group)
	if room, err := object(ctx["room"]); err == nil && truth(room["regex"]) && c.Room != "*" && c.Room != "" {
		c.Pattern, c.BadPattern = pattern(c.Room)
	}
	c.Room = strings.ToLower(c.Room)
	return c
}

// pattern is an expression that matches whole names: RE2, where Jitsi's module
// takes a Lua pattern. Names are in lower case on the wire; the expression can't
// be lowered, as \S and \s differ.
func pattern(expr string) (_ *regexp.Regexp, bad bool) {
	// By itself first: a)|(b would be well-formed in the parentheses below.
	if _, err := regexp.Compile(expr); err != nil {
		return nil, true
	}
	re, err := regexp.Compile(`(?i)\A(?:` + expr + `)\z`)
	return re, err != nil
}
