package auth

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"testing"

	"confab/xmpp"
	"confab/xmpp/scram"
)

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sha1Of(k scram.Keys) (func() hash.Hash, scram.Pair)   { return sha1.New, k.SHA1 }
func sha256Of(k scram.Keys) (func() hash.Hash, scram.Pair) { return sha256.New, k.SHA256 }

func isFailure(err error, cond string) bool {
	var f *xmpp.SASLFailure
	return errors.As(err, &f) && f.Cond == cond
}
