package auth

import (
	"context"
	"crypto/rand"
	"fmt"

	"mellium.im/sasl"

	"confab/xmpp"
)

// Anonymous lets everybody in under a random name (room-services.md §4.3). A
// client that comes back with the id of its old session is the same user again,
// else it could not resume. Tokens are not looked at.
type Anonymous struct{}

// Mechanisms implements xmpp.Authenticator.
func (Anonymous) Mechanisms(*xmpp.Peer) []string { return []string{sasl.Anonymous.Name} }

// Start implements xmpp.Authenticator.
func (Anonymous) Start(_ context.Context, p *xmpp.Peer, _ string) (xmpp.Exchange, error) {
	name := p.GuestName()
	if name == "" {
		name = newUUID()
	}
	return &exchange{
		neg:     sasl.NewServer(sasl.Anonymous, nil),
		account: func() xmpp.Account { return xmpp.Account{Name: name, Guest: true} },
	}, nil
}

// newUUID is a version 4 UUID. It is lower-case hexadecimal, because LJM takes
// its nick from the first eight digits.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
