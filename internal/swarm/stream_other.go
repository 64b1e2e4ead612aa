//go:build !linux

package swarm

import (
	"errors"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

// stream and poller, too, are written for Linux.
type (
	stream struct{}
	poller struct{}
)

var errLinux = errors.New("the load generator needs Linux")

func dialStream(netip.AddrPort, netip.AddrPort, bool) (*stream, error)       { return nil, errLinux }
func (*stream) close()                                                       {}
func (*stream) cipher() string                                               { return "" }
func (*stream) failed() error                                                { return nil }
func (*stream) push()                                                        {}
func (*stream) full() bool                                                   { return false }
func (*stream) transact(*stun.Message, time.Duration) (*stun.Message, error) { return nil, errLinux }
func (r *Relays) sendStream(*lane)                                           {}
func (r *Relays) readable(int)                                               {}
func newPoller() (*poller, error)                                            { return nil, errLinux }
func (*poller) add(*stream, int) error                                       { return errLinux }
func (*poller) ready(func(int)) int                                          { return 0 }
func (*poller) close()                                                       {}
