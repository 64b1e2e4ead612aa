package meettest

import "bytes"

// What somebody does who has joined and means harm.

// SendRTCP sends compound RTCP as it is, whomever it is about.
func (c *Client) SendRTCP(plain []byte) {
	if s := c.currentSession(); s != nil {
		s.transport.sendRTCP(plain)
	}
}

// Replay sends the latest packet of its own n more times, byte for byte.
func (c *Client) Replay(n int) {
	s := c.currentSession()
	if s == nil {
		return
	}
	s.transport.outMu.Lock()
	packet := bytes.Clone(s.transport.last)
	s.transport.outMu.Unlock()
	for range n {
		s.transport.raw(packet)
	}
}

// SendRaw sends a datagram as it is, from where its media comes.
func (c *Client) SendRaw(b []byte) {
	if s := c.currentSession(); s != nil {
		s.transport.raw(b)
	}
}

func (t *transport) raw(b []byte) {
	if conn := t.conn.Load(); conn != nil {
		_, _ = conn.Write(b)
	}
}
