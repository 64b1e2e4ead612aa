package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"hash"
	"strconv"
	"strings"

	"mellium.im/sasl"

	"confab/xmpp/scram"
)

// errMalformed and errWrong are all that a SCRAM exchange says when it fails:
// mellium's own mechanism puts the stored key into its error.
var (
	errMalformed = sasl.ErrInvalidChallenge
	errWrong     = errors.New("wrong password")
)

// lookup finds the keys of the user that a client-first message names. For
// unknown users it makes up keys that nothing fits.
type lookup func(user, authzid string) (scram.Keys, error)

// scramMechanism is the server side of SCRAM (RFC 5802) from StoredKey and
// ServerKey, as a mechanism for mellium's negotiator. Channel binding is not
// offered: TLS often ends before us, and LJM has none.
func scramMechanism(name string, h func() hash.Hash, pair func(scram.Keys) scram.Pair, find lookup) sasl.Mechanism {
	return sasl.Mechanism{
		Name: name,
		Start: func(*sasl.Negotiator) (bool, []byte, any, error) {
			return false, nil, nil, errMalformed // that is the client's part
		},
		Next: func(n *sasl.Negotiator, in []byte, cache any) (bool, []byte, any, error) {
			if n.State()&sasl.StepMask == sasl.AuthTextSent {
				x, out, err := scramFirst(in, n.Nonce(), find)
				return true, out, x, err
			}
			x, ok := cache.(*scramExchange)
			if !ok {
				return false, nil, nil, errMalformed
			}
			out, err := x.final(in, h, pair(x.keys))
			return false, out, nil, err
		},
	}
}

// scramExchange is the state between the two messages of the client.
type scramExchange struct {
	header      string // gs2-header
	firstBare   string // of the client
	serverFirst string
	nonce       string
	keys        scram.Keys
}

// scramFirst answers client-first-message (RFC 5802 §7).
func scramFirst(in, serverNonce []byte, find lookup) (*scramExchange, []byte, error) {
	msg := string(in)
	flag, rest, ok := strings.Cut(msg, ",")
	// "y" is a client that could bind, and believes that we can't: it is right.
	if !ok || flag != "n" && flag != "y" {
		return nil, nil, errMalformed
	}
	authzid, bare, ok := strings.Cut(rest, ",")
	if !ok {
		return nil, nil, errMalformed
	}
	if authzid != "" {
		v, ok := strings.CutPrefix(authzid, "a=")
		if !ok {
			return nil, nil, errMalformed
		}
		if authzid, ok = saslName(v); !ok {
			return nil, nil, errMalformed
		}
	}
	fields := strings.Split(bare, ",")
	if len(fields) < 2 { // extensions may follow; a mandatory one would come first
		return nil, nil, errMalformed
	}
	name, okName := strings.CutPrefix(fields[0], "n=")
	nonce, okNonce := strings.CutPrefix(fields[1], "r=")
	user, okUser := saslName(name)
	if !okName || !okNonce || !okUser || nonce == "" || !printable(nonce) {
		return nil, nil, errMalformed
	}
	keys, err := find(user, authzid)
	if err != nil {
		return nil, nil, err
	}
	x := &scramExchange{
		header:    msg[:len(msg)-len(bare)],
		firstBare: bare,
		nonce:     nonce + base64.RawStdEncoding.EncodeToString(serverNonce),
		keys:      keys,
	}
	x.serverFirst = "r=" + x.nonce + ",s=" + base64.StdEncoding.EncodeToString(keys.Salt) + ",i=" + strconv.Itoa(keys.Iterations)
	return x, []byte(x.serverFirst), nil
}

// final checks client-final-message and signs for the server.
func (x *scramExchange) final(in []byte, h func() hash.Hash, keys scram.Pair) ([]byte, error) {
	i := bytes.LastIndex(in, []byte(",p="))
	if i < 0 {
		return nil, errMalformed
	}
	withoutProof := string(in[:i])
	proof, err := base64.StdEncoding.Strict().DecodeString(string(in[i+3:]))
	if err != nil || len(proof) != h().Size() {
		return nil, errMalformed
	}
	// Extensions may follow the nonce; none is known.
	binding, rest, _ := strings.Cut(withoutProof, ",")
	nonce, _, _ := strings.Cut(rest, ",")
	if binding != "c="+base64.StdEncoding.EncodeToString([]byte(x.header)) || nonce != "r="+x.nonce {
		return nil, errMalformed
	}
	auth := x.firstBare + "," + x.serverFirst + "," + withoutProof
	signature := mac(h, keys.StoredKey, auth)
	subtle.XORBytes(proof, proof, signature) // now the ClientKey
	sum := h()
	sum.Write(proof)
	if subtle.ConstantTimeCompare(sum.Sum(nil), keys.StoredKey) != 1 {
		return nil, errWrong
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(mac(h, keys.ServerKey, auth))), nil
}

func mac(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// saslName decodes saslname: a comma is =2C, an equals sign =3D.
func saslName(s string) (string, bool) {
	if s == "" {
		return "", false
	}
	if !strings.Contains(s, "=") {
		return s, true
	}
	parts := strings.Split(s, "=")
	var b strings.Builder
	b.WriteString(parts[0])
	for _, p := range parts[1:] {
		switch {
		case strings.HasPrefix(p, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(p, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		b.WriteString(p[2:])
	}
	return b.String(), true
}

// printable is the alphabet of a nonce (RFC 5802 §7).
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == ',' {
			return false
		}
	}
	return true
}

func scramSHA1(find lookup) sasl.Mechanism {
	return scramMechanism(sasl.ScramSha1.Name, sha1.New, func(k scram.Keys) scram.Pair { return k.SHA1 }, find)
}

func scramSHA256(find lookup) sasl.Mechanism {
	return scramMechanism(sasl.ScramSha256.Name, sha256.New, func(k scram.Keys) scram.Pair { return k.SHA256 }, find)
}
