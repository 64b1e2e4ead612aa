package main

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco/relay"
)

// An address that comes while the server runs is answered on, and nobody is relayed to it.
func TestAddressesCome(t *testing.T) {
	t.Parallel()
	first, second, strange := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("192.0.2.77")
	list := map[netip.Addr]bool{first: true}
	cfg := config.Config{}
	s := &server{cfg: cfg, logs: newLogs(cfg, io.Discard), local: planned{}, own: machineAddresses{list: func() map[netip.Addr]bool { return list }}}
	rc := relay.DefaultConfig()
	rc.UDP = []netip.AddrPort{netip.AddrPortFrom(first, 0)}
	peers, err := s.peerPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if s.relay, err = relay.Listen(rc, s.logs.of("turn")); err != nil {
		t.Fatal(err)
	}
	defer s.relay.Close()
	port := s.relay.UDPAddrs()[0].Port()
	s.cfg.TURN.UDP, s.cfg.TURN.Port, s.cfg.TURN.Listen = true, int(port), []string{"0.0.0.0"}
	if !peers.Own(first) || peers.Own(second) {
		t.Error("the addresses at the start are others")
	}

	list = map[netip.Addr]bool{first: true, second: true, strange: true}
	failed := map[netip.AddrPort]bool{}
	for range 2 {
		s.lookAtAddresses(failed)
	}
	if !peers.Own(second) {
		t.Error("an address that has come is not the machine's own")
	}
	if len(failed) != 1 || !failed[netip.AddrPortFrom(strange, port)] {
		t.Errorf("not listened on: %v", failed)
	}
	conn, err := net.Dial("udp", netip.AddrPortFrom(second, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("\x00\x01\x00\x00\x21\x12\xa4\x42twelve bytes")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := conn.Read(b); err != nil || n < 20 || string(b[:2]) != "\x01\x01" {
		t.Errorf("answer %x, %v", b[:n], err)
	}

	list = map[netip.Addr]bool{} // as if they could not be read
	s.lookAtAddresses(failed)
	if !peers.Own(first) {
		t.Error("no address is the machine's own")
	}
}
