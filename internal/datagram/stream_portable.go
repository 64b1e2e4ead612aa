//go:build !linux || portable

package datagram

import (
	"errors"
	"fmt"
	"net"
)

// CanStream says that TCP connections can be taken from the runtime's poller.
const CanStream = false

// Stream is a TCP connection that a Poller watches: there are none here.
type Stream struct{}

var errNoStream = fmt.Errorf("polled tcp connections: %w", errors.ErrUnsupported)

// TakeStream takes a connection from the runtime, where that can be done.
func TakeStream(*net.TCPConn) (*Stream, error) { return nil, errNoStream }

// Close closes the connection.
func (*Stream) Close() error { return nil }

// Shutdown ends both directions.
func (*Stream) Shutdown() {}

// DelayAcks has the kernel acknowledge every second segment.
func (*Stream) DelayAcks() {}

// Read reads what is there.
func (*Stream) Read([]byte) (int, error) { return 0, errNoStream }

// Write writes as much of b as there is room for.
func (*Stream) Write([]byte) (int, error) { return 0, errNoStream }

// Conn gives the connection back to the runtime.
func (*Stream) Conn() (net.Conn, error) { return nil, errNoStream }

// AddStream has Wait return v when s can be read.
func (*Poller) AddStream(*Stream, any) error { return errNoStream }

// RemoveStream undoes AddStream.
func (*Poller) RemoveStream(*Stream) {}

// Writable has Wait return the value of s also when there is room to write.
func (*Poller) Writable(*Stream, bool) {}
