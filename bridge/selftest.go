package bridge

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/bridge/transport"
)

// The self-test holds a meeting of two: two clients of our own, each with a socket of
// its own, connect to the bridge's port by ICE and DTLS-SRTP, and what one says must
// reach the other. It goes the whole way of a packet but the network in front of this
// machine: reader, decryption, table, worker, encryption, socket.

// probe is one participant of it: at is the bridge's end, far the client's.
type probe struct {
	fwd       *forward.Endpoint
	sockets   *transport.Sockets
	at, far   *transport.Transport
	connected chan struct{} // a value for each end
	heard     chan []byte   // what the client received
}

// nearEnd and farEnd are the transport.Handlers of the two ends.
type (
	nearEnd struct{ *probe }
	farEnd  struct{ *probe }
)

func (p nearEnd) RTP(pkt *rtpx.Packet)     { p.fwd.RTP(pkt) }
func (p nearEnd) RTCP(pkt *rtpx.Packet)    { p.fwd.RTCP(pkt) }
func (p nearEnd) State(st transport.State) { p.changed(st) }
func (p nearEnd) ChannelOpen()             {}
func (p nearEnd) Message([]byte)           {}
func (p farEnd) RTCP(*rtpx.Packet)         {}
func (p farEnd) State(st transport.State)  { p.changed(st) }
func (p farEnd) ChannelOpen()              {}
func (p farEnd) Message([]byte)            {}
func (p *probe) changed(st transport.State) {
	if st == transport.StateConnected {
		select {
		case p.connected <- struct{}{}:
		default:
		}
	}
}

func (p farEnd) RTP(pkt *rtpx.Packet) {
	var h rtpx.Header
	if h.Parse(pkt.Bytes()) {
		select {
		case p.heard <- bytes.Clone(h.Payload(pkt.Bytes())):
		default:
		}
	}
}

const (
	probePT     = 111
	probePeriod = 20 * time.Millisecond // between packets, until one arrives
)

// selfTest reports whether media passes through the bridge now.
func (s *Service) selfTest(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.HealthTimeout)
	defer cancel()
	local, ok := probeAddress(s.sockets.Locals())
	if !ok {
		return errors.New("no local address to test from")
	}
	pipe, err := s.engine.NewPipeline("self-test")
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	defer pipe.Close()
	var probes [2]*probe
	for i := range probes {
		p, err := s.newProbe(pipe, fmt.Sprint("probe-", i), local)
		if p != nil {
			defer p.close()
		}
		if err != nil {
			return err
		}
		probes[i] = p
	}
	for i, p := range probes {
		for range 2 {
			select {
			case <-p.connected:
			case <-ctx.Done():
				return fmt.Errorf("participant %d: %s at the bridge, %s at the client after %v", i, p.at.State(), p.far.State(), s.cfg.HealthTimeout)
			}
		}
		p.fwd.SetSender(sender{p.at})
	}
	return probes[0].talkTo(ctx, probes[1])
}

// probeAddress is where the clients of the test live: an address that the bridge
// listens on, of IPv4 if there is one.
func probeAddress(locals []netip.AddrPort) (at netip.AddrPort, ok bool) {
	for _, l := range locals {
		if a := l.Addr(); a.IsLinkLocalUnicast() || a.Zone() != "" {
			continue
		}
		if l.Addr().Is4() {
			return l, true
		}
		if !ok {
			at, ok = l, true
		}
	}
	return at, ok
}

// newProbe makes a participant and begins to connect it. What it returns beside an
// error is to be closed.
func (s *Service) newProbe(pipe *forward.Pipeline, id string, local netip.AddrPort) (*probe, error) {
	p := &probe{connected: make(chan struct{}, 2), heard: make(chan []byte, 16)}
	quiet := slog.New(slog.DiscardHandler)
	tc := transport.DefaultConfig()
	tc.Port, tc.Sockets, tc.SocketBuffer = 0, 1, 0
	tc.Bind, tc.PublicAddresses = []string{local.Addr().String()}, []string{local.Addr().String()}
	var err error
	if p.sockets, err = transport.Listen(tc, quiet); err != nil {
		return nil, fmt.Errorf("socket of a client: %w", err)
	}
	media := forward.Media{Payloads: []forward.Payload{{PT: probePT, Name: "opus", Kind: forward.Audio}}}
	if p.fwd, err = pipe.Attach(forward.EndpointConfig{ID: id, Media: media, FeedbackSSRC: randomSSRC()}); err != nil {
		return p, fmt.Errorf("attach: %w", err)
	}
	if p.at, err = s.sockets.New(transport.TransportConfig{Private: true, Log: quiet}, nearEnd{p}); err != nil {
		return p, fmt.Errorf("transport: %w", err)
	}
	if p.far, err = p.sockets.New(transport.TransportConfig{Controlled: true, Private: true, Log: quiet}, farEnd{p}); err != nil {
		return p, fmt.Errorf("transport of a client: %w", err)
	}
	// The client is offered the local address, whatever others see: between them may be
	// a router that does not lead back.
	ours, theirs := p.at.Local(), p.far.Local()
	ours.Fingerprints[0].Setup, theirs.Fingerprints[0].Setup = "passive", "active"
	ours.Candidates = []transport.Candidate{{Foundation: "1", Component: 1, Protocol: "udp", Priority: 1, Addr: local, Type: "host"}}
	theirs.Candidates = nil // learnt from its checks, as of clients
	if err = p.at.SetRemote(theirs); err == nil {
		err = p.far.SetRemote(ours)
	}
	if err != nil {
		return p, fmt.Errorf("connect: %w", err)
	}
	return p, nil
}

// talkTo says something until it is heard.
func (p *probe) talkTo(ctx context.Context, to *probe) error {
	ssrc := randomSSRC()
	err := p.fwd.SetSources([]forward.Source{{Name: "probe-a0", Kind: forward.Audio, Encodings: []forward.Encoding{{SSRC: ssrc}}}})
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	words := make([]byte, 32)
	_, _ = rand.Read(words)
	batch := p.sockets.NewBatch(0)
	again := time.NewTicker(probePeriod)
	defer again.Stop()
	for seq := uint16(0); ; seq++ {
		b := make([]byte, rtpx.HeaderSize, rtpx.HeaderSize+len(words))
		rtpx.PutHeader(b, probePT, false, seq, 960*uint32(seq), ssrc)
		if err := batch.Add(p.far, append(b, words...)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		batch.Flush()
		select {
		case got := <-to.heard:
			if !bytes.Equal(got, words) {
				return errors.New("what was said arrived distorted")
			}
			return nil
		case <-again.C:
		case <-ctx.Done():
			return errors.New("what was said was not heard")
		}
	}
}

// close releases everything: senders before transports, clients before their sockets.
func (p *probe) close() {
	if p.far != nil {
		_ = p.far.Close()
	}
	if p.fwd != nil {
		p.fwd.SetSender(nil)
	}
	if p.at != nil {
		_ = p.at.Close()
	}
	if p.fwd != nil {
		p.fwd.Close()
	}
	_ = p.sockets.Close()
}
