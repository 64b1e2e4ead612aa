package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"confab/extdisco/stun"
)

// ErrNoHelp means that a server does not answer to another port.
var ErrNoHelp = errors.New("the server does not offer RFC 5780")

// arrivalWait is how long a packet may be on its way, and arrivalTries how often one is
// asked for: servers answer few such requests.
const (
	arrivalWait  = time.Second
	arrivalTries = 3
)

// Arrival tells whether a packet from outside reaches a UDP port of this machine. A server
// elsewhere, at helper, is asked from another port to send its answer to the one in
// question, from which nothing has been sent: so only what is open to strangers lets
// it in. mapped is this machine's address as the helper sees it. The port must be free.
func Arrival(ctx context.Context, helper string, port uint16) (mapped netip.Addr, arrived bool, err error) {
	c, err := Dial(ctx, "udp", helper, "")
	if err != nil {
		return mapped, false, err
	}
	defer c.Close()
	seen, other, err := c.Binding(ctx)
	if err != nil {
		return mapped, false, fmt.Errorf("no answer from %s: %w", helper, err)
	}
	mapped = seen.Addr()
	if !other.IsValid() {
		return mapped, false, ErrNoHelp
	}
	network := "udp4"
	if c.Local().Addr().Is6() {
		network = "udp6"
	}
	ln, err := net.ListenUDP(network, &net.UDPAddr{Port: int(port)})
	if err != nil {
		return mapped, false, err
	}
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { _ = ln.SetReadDeadline(time.Unix(1, 0)) })()
	asked := map[stun.ID]bool{}
	for range arrivalTries {
		id, err := c.RespondTo(port)
		if err != nil {
			return mapped, false, err
		}
		asked[id] = true
		if err := ln.SetReadDeadline(time.Now().Add(arrivalWait)); err != nil {
			return mapped, false, err
		}
		b := make([]byte, 1500)
		for {
			n, _, err := ln.ReadFromUDPAddrPort(b)
			if err != nil {
				break
			}
			if m, ok := stun.Parse(b[:n]); ok && m.Type() == stun.Binding|stun.Success && asked[m.ID()] {
				return mapped, true, nil
			}
		}
		if ctx.Err() != nil {
			return mapped, false, ctx.Err()
		}
	}
	return mapped, false, nil
}
