package relay

import (
	"encoding/binary"
	"sync"

	"confab/extdisco/credential"

	"github.com/pion/stun/v4"
)

// keyring finds the key of a username. After a rotation the credentials of older
// secrets are still out, and pion checks a request against one key only: so the
// request is looked at before pion gets it, and a username that an older secret
// has signed is remembered with that secret. Only holders of a valid credential
// can put something here.
type keyring struct {
	secrets credential.Secrets
	realm   string

	mu    sync.Mutex
	older map[string]int // username: index in secrets, from 1 on
}

// maxOlder bounds the usernames remembered. A full table is emptied; the next
// request of each fills it again.
const maxOlder = 10_000

func newKeyring(secrets credential.Secrets, realm string) *keyring {
	return &keyring{secrets: secrets, realm: realm, older: map[string]int{}}
}

// key is what MESSAGE-INTEGRITY of a username is checked with.
func (k *keyring) key(username string) []byte {
	k.mu.Lock()
	i := k.older[username]
	k.mu.Unlock()
	return k.secrets.Keys(username, k.realm)[i]
}

// learn takes note if an older secret has signed the request b.
func (k *keyring) learn(b []byte) {
	if len(k.secrets) < 2 || binary.BigEndian.Uint16(b)&0x0110 != 0 { // RFC 8489 §5: requests have neither class bit
		return
	}
	m := stun.Message{Raw: append([]byte(nil), b...)}
	var name stun.Username
	if m.Decode() != nil || !m.Contains(stun.AttrMessageIntegrity) || name.GetFrom(&m) != nil {
		return
	}
	username := name.String()
	for i, key := range k.secrets.Keys(username, k.realm) {
		if stun.MessageIntegrity(key).Check(&m) == nil {
			k.note(username, i)
			return
		}
	}
}

func (k *keyring) note(username string, i int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i == 0 {
		delete(k.older, username)
		return
	}
	if len(k.older) >= maxOlder {
		clear(k.older)
	}
	k.older[username] = i
}
