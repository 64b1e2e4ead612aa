// Package probe asks STUN and TURN servers as clients do: for the checks that an
// operator runs, and to see whether relays elsewhere answer.
//
// Rules of this package:
//   - A Client belongs to one goroutine; what waits ends with its context.
//   - It has no part in the traffic of meetings, and need not be fast.
package probe

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"confab/extdisco/credential"
	"confab/extdisco/stun"
)

// again is when a request over UDP is sent once more (RFC 8489 §6.2.1: the initial RTO).
const again = 500 * time.Millisecond

// Refused is the code of an error response.
type Refused int

func (r Refused) Error() string { return fmt.Sprintf("refused with %d", int(r)) }

var (
	// ErrForged means an answer that the server's key has not signed.
	ErrForged = errors.New("the answer is not signed by the server")
	errAnswer = errors.New("the answer lacks what was asked for")
	errFrame  = errors.New("what came is no STUN")
)

// Client is one connection to a server, with at most one allocation.
type Client struct {
	conn   net.Conn
	stream bool

	username, password string
	realm, nonce       string
	key                []byte

	data []Packet // came while another answer was waited for
}

// Packet is data from a peer.
type Packet struct {
	From netip.AddrPort
	Data []byte
}

// Dial connects by "udp", "tcp" or "tls". With TLS it asks for name and takes any
// certificate: whether that is good is another question.
func Dial(ctx context.Context, network, address, name string) (*Client, error) {
	transport := network
	if network == "tls" {
		transport = "tcp"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, transport, address)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, stream: network != "udp"}
	if network == "tls" {
		tc := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}) // browsers offer no ALPN here, either (turn.md §7.10)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		c.conn = tc
	}
	return c, nil
}

// Close ends the connection. An allocation ends by itself after ten minutes, or by Release.
func (c *Client) Close() error { return c.conn.Close() }

// Local is this end's address.
func (c *Client) Local() netip.AddrPort {
	switch a := c.conn.LocalAddr().(type) {
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Binding asks under which address the server sees this client, and for the server's
// other address, which those with RFC 5780 tell.
func (c *Client) Binding(ctx context.Context) (mapped, other netip.AddrPort, err error) {
	m, err := c.ask(ctx, stun.Binding, nil)
	if err != nil {
		return mapped, other, err
	}
	mapped, err = xorAddress(m, stun.AttrXORMappedAddress)
	if v, ok := m.Get(stun.AttrOtherAddress); ok {
		other = plainAddress(v)
	}
	return mapped, other, err
}

// RespondTo sends a Binding request whose answer goes to another port of this client's
// address (RFC 5780 §7.5), and does not wait for it.
func (c *Client) RespondTo(port uint16) (stun.ID, error) {
	id := newID()
	var b stun.Builder
	b.Start(stun.Binding|stun.Request, id)
	b.Add(stun.AttrResponsePort, []byte{byte(port >> 8), byte(port), 0, 0})
	_, err := c.conn.Write(b.Bytes())
	return id, err
}

// Allocate opens an allocation and returns its relayed address.
func (c *Client) Allocate(ctx context.Context, cred credential.Credential) (netip.AddrPort, error) {
	c.username, c.password = cred.Username, cred.Password
	m, err := c.authenticated(ctx, stun.Allocate, func(b *stun.Builder) {
		b.AddUint32(stun.AttrRequestedTransport, stun.TransportUDP<<24)
	})
	if err != nil {
		return netip.AddrPort{}, err
	}
	return xorAddress(m, stun.AttrXORRelayedAddress)
}

// Release ends the allocation.
func (c *Client) Release(ctx context.Context) error {
	_, err := c.authenticated(ctx, stun.Refresh, func(b *stun.Builder) { b.AddUint32(stun.AttrLifetime, 0) })
	return err
}

// Permit asks for a permission for a peer.
func (c *Client) Permit(ctx context.Context, peer netip.Addr) error {
	_, err := c.authenticated(ctx, stun.CreatePermission, func(b *stun.Builder) { addPeer(b, netip.AddrPortFrom(peer, 0)) })
	return err
}

// Bind asks for a channel to a peer: unlike a permission it is for one port.
func (c *Client) Bind(ctx context.Context, channel uint16, peer netip.AddrPort) error {
	_, err := c.authenticated(ctx, stun.ChannelBind, func(b *stun.Builder) {
		b.AddUint32(stun.AttrChannelNumber, uint32(channel)<<16)
		addPeer(b, peer)
	})
	return err
}

// addPeer writes the address as it is spelled: mapped ones stay so.
func addPeer(b *stun.Builder, peer netip.AddrPort) {
	if !peer.Addr().Is4In6() {
		b.AddXORAddress(stun.AttrXORPeerAddress, peer)
		return
	}
	// RFC 8489 §14.2, by hand: the Builder would make it IPv4.
	ip := peer.Addr().As16()
	value := append([]byte{0, stun.FamilyIPv6, 0, 0}, ip[:]...)
	head := b.Bytes()[4:stun.HeaderSize] // cookie and transaction id
	binary.BigEndian.PutUint16(value[2:], peer.Port()^binary.BigEndian.Uint16(head))
	for i := range ip {
		value[4+i] ^= head[i]
	}
	b.Add(stun.AttrXORPeerAddress, value)
}

// Send sends data to a peer.
func (c *Client) Send(peer netip.AddrPort, data []byte) error {
	var b stun.Builder
	b.Start(stun.Send|stun.Indication, newID())
	addPeer(&b, peer)
	b.Add(stun.AttrData, data)
	_, err := c.conn.Write(b.Bytes())
	return err
}

// Receive waits for data of a peer.
func (c *Client) Receive(ctx context.Context) (Packet, error) {
	for len(c.data) == 0 {
		m, err := c.read(ctx, time.Time{})
		if err != nil {
			return Packet{}, err
		}
		c.keep(m)
	}
	p := c.data[0]
	c.data = c.data[1:]
	return p, nil
}

// keep takes what is a Data indication.
func (c *Client) keep(m stun.Message) {
	if m.Type() != stun.Data|stun.Indication {
		return
	}
	from, err := xorAddress(m, stun.AttrXORPeerAddress)
	if data, ok := m.Get(stun.AttrData); ok && err == nil {
		c.data = append(c.data, Packet{from, append([]byte(nil), data...)})
	}
}

// authenticated asks with the long-term credential (RFC 8489 §9.2), first of all
// without it, to be told realm and nonce.
func (c *Client) authenticated(ctx context.Context, method uint16, add func(*stun.Builder)) (stun.Message, error) {
	for range 3 {
		m, err := c.ask(ctx, method, func(b *stun.Builder) {
			add(b)
			if c.key == nil {
				return
			}
			b.AddString(stun.AttrUsername, c.username)
			b.AddString(stun.AttrRealm, c.realm)
			b.AddString(stun.AttrNonce, c.nonce)
			b.Sign(c.key)
		})
		code, refused := errors.AsType[Refused](err)
		if refused && (code == stun.CodeStaleNonce || code == stun.CodeUnauthorized && c.key == nil) {
			realm, _ := m.Get(stun.AttrRealm)
			nonce, _ := m.Get(stun.AttrNonce)
			c.realm, c.nonce = string(realm), string(nonce)
			key := credential.Key(c.username, c.realm, c.password)
			c.key = key[:]
			continue
		}
		if err == nil && (c.key == nil || !m.Signed(c.key, new(stun.Builder))) {
			err = ErrForged
		}
		return m, err
	}
	return nil, Refused(stun.CodeStaleNonce)
}

// ask sends a request until it is answered. An error response comes back with its
// message.
func (c *Client) ask(ctx context.Context, method uint16, add func(*stun.Builder)) (stun.Message, error) {
	id := newID()
	var b stun.Builder
	b.Start(method|stun.Request, id)
	if add != nil {
		add(&b)
	}
	for {
		if _, err := c.conn.Write(b.Bytes()); err != nil {
			return nil, err
		}
		var until time.Time
		if !c.stream {
			until = time.Now().Add(again)
		}
		for {
			m, err := c.read(ctx, until)
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() && ctx.Err() == nil && !c.stream {
				break // once more
			}
			if err != nil {
				return nil, err
			}
			switch {
			case m.ID() != id || m.Method() != method:
				c.keep(m)
			case m.Class() == stun.Success:
				return m, nil
			case m.Class() == stun.Error:
				return m, Refused(m.ErrorCode())
			}
		}
	}
}

// read returns the next message, at the latest when ctx or until ends.
func (c *Client) read(ctx context.Context, until time.Time) (stun.Message, error) {
	if deadline, ok := ctx.Deadline(); ok && (until.IsZero() || deadline.Before(until)) {
		until = deadline
	}
	if err := c.conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	// Not before the line above, which would undo it.
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })()
	m, err := c.next()
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return m, err
}

func (c *Client) next() (stun.Message, error) {
	b := make([]byte, 64<<10)
	if !c.stream {
		for {
			n, err := c.conn.Read(b)
			if err != nil {
				return nil, err
			}
			if m, ok := stun.Parse(b[:n]); ok {
				return m, nil
			}
		}
	}
	head := b[:stun.HeaderSize]
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return nil, err
	}
	n := stun.HeaderSize + int(binary.BigEndian.Uint16(head[2:]))
	if !stun.IsMessage(head) || n > len(b) {
		return nil, errFrame
	}
	if _, err := io.ReadFull(c.conn, b[stun.HeaderSize:n]); err != nil {
		return nil, err
	}
	m, ok := stun.Parse(b[:n])
	if !ok {
		return nil, errFrame
	}
	return m, nil
}

func newID() (id stun.ID) {
	rand.Read(id[:])
	return id
}

func xorAddress(m stun.Message, kind uint16) (netip.AddrPort, error) {
	v, _ := m.Get(kind)
	ap, ok := m.Address(v)
	if !ok {
		return ap, errAnswer
	}
	return unmap(ap), nil
}

// plainAddress decodes an address that is not XORed (RFC 8489 §14.1).
func plainAddress(v []byte) netip.AddrPort {
	if len(v) < 8 {
		return netip.AddrPort{}
	}
	ip, ok := netip.AddrFromSlice(v[4:])
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(v[2:]))
}
