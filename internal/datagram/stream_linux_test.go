//go:build linux && !portable

package datagram

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// taken is a stream and what is on its other end.
func taken(t *testing.T) (*Stream, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, err := TakeStream(near.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the runtime still has it: %v", err)
	}
	_ = far.SetDeadline(time.Now().Add(patience))
	return s, far
}

// What the other end writes is told, read, and answered, beside a socket.
func TestStream(t *testing.T) {
	t.Parallel()
	s, far := taken(t)
	p := poller(t, open(t, loopback, Options{}))
	if err := p.AddStream(s, s); err != nil {
		t.Fatal(err)
	}
	if err := p.AddStream(s, s); err == nil {
		t.Error("added twice")
	}
	b := make([]byte, 10)
	if n, err := s.Read(b); n != 0 || !errors.Is(err, ErrLater) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := far.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if ready := readable(t, p); len(ready) != 1 || ready[0] != any(s) {
		t.Fatalf("ready %v", ready)
	}
	if n, err := s.Read(b); string(b[:n]) != "hello" || err != nil {
		t.Fatalf("%q, %v", b[:n], err)
	}
	if n, err := s.Write([]byte("hello to you")); n != 12 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if _, err := io.ReadFull(far, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	readable(t, p)
	if n, err := s.Read(b); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
	p.RemoveStream(s)
	p.RemoveStream(s)
	if ready, err := p.Wait(0, nil); len(ready) != 0 || err != nil {
		t.Errorf("ready after Remove: %v, %v", ready, err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Conn(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := p.AddStream(s, s); err == nil {
		t.Error("a closed one was added")
	}
}

// Who does not read gets no more than fits; the poller tells of room again.
func TestStreamWithoutRoom(t *testing.T) {
	t.Parallel()
	s, far := taken(t)
	p := poller(t)
	if err := p.AddStream(s, s); err != nil {
		t.Fatal(err)
	}
	sent, b := 0, make([]byte, 1<<16)
	for {
		n, err := s.Write(b)
		sent += n
		if errors.Is(err, ErrLater) {
			break
		}
		if err != nil || n != len(b) {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	p.Writable(s, true)
	if ready, err := p.Wait(0, nil); len(ready) != 0 || err != nil {
		t.Fatalf("ready %v, %v", ready, err)
	}
	if _, err := io.CopyN(io.Discard, far, int64(sent)); err != nil {
		t.Fatal(err)
	}
	readable(t, p)
	if n, err := s.Write(b[:1]); n != 1 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	p.Writable(s, false)
	if ready, err := p.Wait(0, nil); len(ready) != 0 || err != nil {
		t.Errorf("ready %v, %v", ready, err)
	}
	s.Shutdown()
	readable(t, p)
	if n, err := s.Read(b); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A stream becomes a connection of the runtime again.
func TestStreamGivenBack(t *testing.T) {
	t.Parallel()
	s, far := taken(t)
	if _, err := far.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	near, err := s.Conn()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	_ = near.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 12)
	if _, err := io.ReadFull(near, b[:6]); err != nil || string(b[:6]) != "before" {
		t.Fatalf("%q, %v", b[:6], err)
	}
	done := make(chan error, 1)
	go func() { _, err := io.ReadFull(near, b); done <- err }() // it waits
	if _, err := far.Write([]byte("and waited for")[:12]); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || string(b) != "and waited f" {
		t.Fatalf("%q, %v", b, err)
	}
	again, err := TakeStream(near.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n, err := again.Write(b); n != len(b) || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
