package swarm

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/pion/stun/v4"
)

// allocation is one client, its peer, and what the server relays between them.
type allocation struct {
	index   int
	stream  *stream // to the server, nil over UDP
	channel uint16
	peer    [8]byte // value of XOR-PEER-ADDRESS; of IPv4 it does not depend on the transaction
	head    [sendHeader]byte
	relayed netip.AddrPort
	lanes   [2]lane // up, down

	username, password string
	realm              stun.Realm
	nonce              stun.Nonce
}

const (
	// Requests are sent again after again and given up after patience.
	again, patience = 300 * time.Millisecond, 10 * time.Second
	// keepAfter is when permissions, channels and allocations are renewed; permissions
	// last 300 s.
	keepAfter = 100 * time.Second
	// lifetime of the credentials.
	credentialTime = time.Hour
)

// Open makes the allocations, with a channel to the peer or a permission for it.
func (r *Relays) Open(ctx context.Context) error {
	if r.opt.Transport != "udp" {
		var err error
		if r.poll, err = newPoller(); err != nil {
			return err
		}
	}
	for i := range r.opt.Allocations {
		a := &allocation{index: i, channel: 0x4000 + uint16(i)}
		a.username = strconv.FormatInt(time.Now().Add(credentialTime).Unix(), 10) + ":bench" + strconv.Itoa(i)
		mac := hmac.New(sha1.New, []byte(r.opt.Secret))
		mac.Write([]byte(a.username))
		a.password = base64.StdEncoding.EncodeToString(mac.Sum(nil))
		peer := r.address(i, true)
		a.peer[1] = 1 // IPv4
		binary.BigEndian.PutUint16(a.peer[2:], r.sock.port^0x2112)
		binary.BigEndian.PutUint32(a.peer[4:], binary.BigEndian.Uint32(peer[:])^0x2112A442)
		a.template(r.opt.Size)
		a.lanes = [2]lane{{a: a, up: true}, {a: a}}
		if err := r.allocate(ctx, a); err != nil {
			return fmt.Errorf("allocation %d of %d: %w", i+1, r.opt.Allocations, err)
		}
		r.allocs = append(r.allocs, a)
		if r.opt.Up {
			r.lanes = append(r.lanes, &a.lanes[0])
		}
		if r.opt.Down {
			r.lanes = append(r.lanes, &a.lanes[1])
		}
	}
	for _, a := range r.allocs {
		if a.stream != nil {
			if err := r.poll.add(a.stream, a.index); err != nil {
				return err
			}
		}
	}
	r.keptAt = time.Now()
	return nil
}

func (r *Relays) allocate(ctx context.Context, a *allocation) error {
	if r.opt.Transport != "udp" {
		from := netip.AddrPortFrom(netip.AddrFrom4(r.address(a.index, false)), 0)
		var err error
		if a.stream, err = dialStream(from, r.opt.Server, r.opt.Transport == "tls"); err != nil {
			return err
		}
	}
	udp := stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}
	res, err := r.request(ctx, a, stun.MethodAllocate, udp, lifetime(3600))
	if err != nil {
		return err
	}
	var relayed stun.XORMappedAddress
	if err := relayed.GetFromAs(res, stun.AttrXORRelayedAddress); err != nil {
		return fmt.Errorf("XOR-RELAYED-ADDRESS: %w", err)
	}
	ip, _ := netip.AddrFromSlice(relayed.IP)
	a.relayed = netip.AddrPortFrom(ip.Unmap(), uint16(relayed.Port))
	return r.permit(ctx, a)
}

// permit opens the way between client and peer.
func (r *Relays) permit(ctx context.Context, a *allocation) error {
	peer := stun.RawAttribute{Type: stun.AttrXORPeerAddress, Value: a.peer[:]}
	if r.opt.Send {
		_, err := r.request(ctx, a, stun.MethodCreatePermission, peer)
		return err
	}
	number := stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{byte(a.channel >> 8), byte(a.channel), 0, 0}}
	_, err := r.request(ctx, a, stun.MethodChannelBind, number, peer)
	return err
}

// keep renews what would run out during a long measurement.
func (r *Relays) keep(ctx context.Context) error {
	if time.Since(r.keptAt) < keepAfter {
		return nil
	}
	r.keptAt = time.Now()
	for _, a := range r.allocs {
		if _, err := r.request(ctx, a, stun.MethodRefresh, lifetime(3600)); err != nil {
			return err
		}
		if err := r.permit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Close gives the allocations up; what the server answers to that is returned.
func (r *Relays) Close(ctx context.Context) error {
	var errs []error
	for _, a := range r.allocs {
		if len(errs) == 0 { // a server that is gone answers to none of them
			if _, err := r.request(ctx, a, stun.MethodRefresh, lifetime(0)); err != nil {
				errs = append(errs, err)
			}
		}
		if a.stream != nil {
			a.stream.close()
		}
	}
	if r.poll != nil {
		r.poll.close()
	}
	r.sock.close()
	return errors.Join(errs...)
}

func lifetime(seconds uint32) stun.RawAttribute {
	return stun.RawAttribute{Type: stun.AttrLifetime, Value: binary.BigEndian.AppendUint32(nil, seconds)}
}

// request does a transaction, with the realm and nonce that the server asks for
// (RFC 8489 §9.2.4).
func (r *Relays) request(ctx context.Context, a *allocation, method stun.Method, attrs ...stun.Setter) (*stun.Message, error) {
	for range 3 {
		all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
		if len(a.nonce) > 0 {
			all = append(all, stun.NewUsername(a.username), a.realm, a.nonce,
				stun.NewLongTermIntegrity(a.username, a.realm.String(), a.password))
		}
		m, err := stun.Build(all...)
		if err != nil {
			return nil, err
		}
		res, err := r.transact(ctx, a, m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		if res.Type.Class == stun.ClassSuccessResponse {
			return res, nil
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(res); err != nil {
			return nil, fmt.Errorf("%s: an error without a code", method)
		}
		if code.Code != stun.CodeUnauthorized && code.Code != stun.CodeStaleNonce || a.realm.GetFrom(res) != nil || a.nonce.GetFrom(res) != nil {
			return nil, fmt.Errorf("%s: %v", method, code)
		}
	}
	return nil, fmt.Errorf("%s: the credentials are refused", method)
}

var errSilent = errors.New("no answer")

// transact sends a request until it is answered.
func (r *Relays) transact(ctx context.Context, a *allocation, m *stun.Message) (*stun.Message, error) {
	if a.stream != nil {
		return a.stream.transact(m, patience)
	}
	client := r.address(a.index, false)
	var res *stun.Message
	for begun := time.Now(); time.Since(begun) < patience && ctx.Err() == nil; {
		if err := r.sock.write(m.Raw, client, r.opt.Server); err != nil && !errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		for sent := time.Now(); time.Since(sent) < again; {
			n := r.sock.read(func(d *datagram) {
				got := &stun.Message{Raw: append([]byte(nil), d.b...)}
				if d.to == client && stun.IsMessage(d.b) && got.Decode() == nil && got.TransactionID == m.TransactionID {
					res = got
				}
			})
			if res != nil {
				return res, nil
			}
			if n == 0 {
				rest(idle / 4)
			}
		}
	}
	return nil, errors.Join(errSilent, ctx.Err())
}
