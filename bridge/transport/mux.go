package transport

// The seam to pion/ice: an ice.UDPMux per agent whose connections carry STUN
// only. What else arrives on the sockets never reaches pion.

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/ice/v4"
	piontransport "github.com/pion/transport/v4"
)

// agentMux implements ice.UDPMux for one agent.
type agentMux struct{ a *agent }

var _ ice.UDPMux = agentMux{}

// GetConn returns the agent's connection on the local address addr.
func (m agentMux) GetConn(_ string, addr net.Addr) (net.PacketConn, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("address %v is not UDP", addr)
	}
	for _, c := range m.a.conns {
		if c.local.addr == unmap(udp.AddrPort()) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no socket on %v", addr)
}

// RemoveConnByUfrag has nothing to do: the agent closes its connections, and
// the ufrag is forgotten when the agent is.
func (m agentMux) RemoveConnByUfrag(string) {}

func (m agentMux) GetListenAddresses() []net.Addr {
	out := make([]net.Addr, 0, len(m.a.conns))
	for _, c := range m.a.conns {
		out = append(out, c.LocalAddr())
	}
	return out
}

func (m agentMux) Close() error { return nil }

// agentConn is what pion takes for the UDP socket of one local candidate.
type agentConn struct {
	agent *agent
	local *local
	in    *queue
}

var (
	_ net.PacketConn           = (*agentConn)(nil)
	_ ice.AddrPortReaderWriter = (*agentConn)(nil)
)

func (c *agentConn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) { return c.in.read(b) }

func (c *agentConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, src, err := c.in.read(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(src), nil
}

func (c *agentConn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = unmap(to)
	if kind, ok := stunType(b); ok && kind == bindingRequest {
		c.agent.s.transactions.begin(stunTransaction(b), c.agent, to)
	}
	if c.toRelay(b, to) {
		return len(b), nil
	}
	return c.local.write(b, to)
}

func (c *agentConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("address %v is not UDP", addr)
	}
	return c.WriteToAddrPort(b, udp.AddrPort())
}

func (c *agentConn) Close() error { c.in.close(); return nil }

func (c *agentConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local.addr) }

// Deadlines are set only to break reads off before Close, which does that too.
func (c *agentConn) SetDeadline(time.Time) error      { return nil }
func (c *agentConn) SetReadDeadline(time.Time) error  { return nil }
func (c *agentConn) SetWriteDeadline(time.Time) error { return nil }

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// noNet keeps pion from enumerating interfaces for every agent: with a UDPMux
// and host candidates it has no use for them.
type noNet struct{ piontransport.Net }

func (noNet) Interfaces() ([]*piontransport.Interface, error) { return nil, nil }
