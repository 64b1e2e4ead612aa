package relay

import "net"

// door is the way out of a listener whose connections are made ready by goroutines: by it
// they get to whoever accepts.
type door struct {
	ready  chan net.Conn
	failed chan error
	done   chan struct{}
}

func newDoor() door {
	return door{make(chan net.Conn), make(chan error), make(chan struct{})}
}

// Accept returns the next connection.
func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.ready:
		return conn, nil
	case err := <-d.failed:
		return nil, err
	case <-d.done:
		return nil, net.ErrClosed
	}
}

// hand gives a connection to whoever accepts.
func (d *door) hand(conn net.Conn) {
	select {
	case d.ready <- conn:
	case <-d.done:
		_ = conn.Close()
	}
}

// fail has Accept return err: whoever accepts decides whether to go on. It is false if
// nobody does any more.
func (d *door) fail(err error) bool {
	select {
	case d.failed <- err:
		return true
	case <-d.done:
		return false
	}
}
