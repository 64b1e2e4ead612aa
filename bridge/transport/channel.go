package transport

// The data channel that carries the bridge channel (reference/bridge.md §6.1):
// the client opens SCTP and the channel, we accept one of them.

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/datachannel"
	"github.com/pion/dtls/v3"
	"github.com/pion/sctp"
)

// Errors of SendMessage.
var (
	ErrNoChannel   = errors.New("the data channel is not open")
	ErrChannelFull = errors.New("the client does not read its data channel")
)

// rtoMax is libwebrtc's cap of the retransmission back-off, in milliseconds.
const rtoMax = 3000

// maxAssociations bounds how often a client may set up SCTP anew over one DTLS connection.
const maxAssociations = 8

type channel struct {
	dropped, rejected atomic.Uint64

	mu sync.Mutex
	dc *datachannel.DataChannel
}

// SendMessage sends one text message. It never waits: ErrNoChannel if the
// client has not opened the channel, ErrChannelFull if more than
// Config.MaxChannelQueue bytes are unacknowledged.
func (t *Transport) SendMessage(b []byte) error {
	c := &t.chans
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dc == nil {
		return ErrNoChannel
	}
	if c.dc.BufferedAmount()+uint64(len(b)) > uint64(t.s.cfg.MaxChannelQueue) {
		return ErrChannelFull
	}
	if _, err := c.dc.WriteDataChannel(b, true); err != nil {
		return fmt.Errorf("data channel: %w", err)
	}
	return nil
}

// channel serves SCTP, if wanted, until the DTLS connection is over.
func (t *Transport) channel(conn *dtls.Conn) {
	c := &sctpConn{Conn: conn}
	if t.cfg.Data {
		for range maxAssociations {
			t.association(c)
			if c.over.Load() {
				return
			}
		}
	}
	// Nothing is expected but the client's goodbye.
	_ = conn.SetReadDeadline(time.Time{})
	buf := make([]byte, 8192)
	for !c.over.Load() {
		_, _ = c.Read(buf)
	}
}

// association serves one SCTP association.
func (t *Transport) association(c *sctpConn) {
	_ = c.SetReadDeadline(time.Time{})
	assoc, err := sctp.ServerWithOptions(
		sctp.WithNetConn(c),
		sctp.WithLoggerFactory(t.pion),
		sctp.WithName("bridge"),
		sctp.WithRTOMax(rtoMax),
		sctp.WithMaxMessageSize(uint32(t.s.cfg.MaxChannelQueue)),
		sctp.WithMaxReceiveBufferSize(uint32(t.s.cfg.MaxChannelBuffer)),
		sctp.WithEnableZeroChecksum(true),
	)
	if err != nil {
		return
	}
	var readers sync.WaitGroup
	for {
		stream, err := assoc.AcceptStream()
		if err != nil {
			break
		}
		t.chans.mu.Lock()
		taken := t.chans.dc != nil
		t.chans.mu.Unlock()
		if taken {
			t.reject()
			_ = stream.Close()
			continue
		}
		// RFC 8832 §5: the first message on the stream is DATA_CHANNEL_OPEN.
		dc, err := datachannel.Server(stream, &datachannel.Config{LoggerFactory: t.pion})
		if err != nil {
			t.reject()
			_ = stream.Close()
			continue
		}
		t.chans.mu.Lock()
		t.chans.dc = dc
		t.chans.mu.Unlock()
		readers.Go(func() { t.readMessages(dc) })
	}
	_ = assoc.Close()
	readers.Wait()
}

// reject counts a data channel that is not taken.
func (t *Transport) reject() {
	t.chans.rejected.Add(1)
	t.s.channelsRejected.Add(1)
}

// readMessages delivers the messages of the channel until it closes.
func (t *Transport) readMessages(dc *datachannel.DataChannel) {
	defer func() {
		t.chans.mu.Lock()
		if t.chans.dc == dc {
			t.chans.dc = nil
		}
		t.chans.mu.Unlock()
	}()
	defer t.guard()
	t.h.ChannelOpen()
	buf := make([]byte, t.s.cfg.MaxMessage)
	for {
		n, text, err := dc.ReadDataChannel(buf)
		switch {
		case errors.Is(err, io.ErrShortBuffer):
			// pion keeps the message until a buffer fits it: take it out. Its
			// size is bounded by the receive window, give or take the last chunk.
			t.chans.dropped.Add(1)
			_, _, err = dc.ReadDataChannel(make([]byte, 2*t.s.cfg.MaxChannelBuffer))
		case err == nil && !text:
			t.chans.dropped.Add(1) // binary means nothing here
		case err == nil:
			t.h.Message(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// sctpConn lends the DTLS connection to an association: closing it only ends
// the association's reading.
type sctpConn struct {
	*dtls.Conn
	over atomic.Bool // the DTLS connection itself ended
}

// Read skips the errors that pion reports for single bad records: anyone who
// can forge the client's address could cause them.
func (c *sctpConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		var timeout interface{ Timeout() bool }
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, io.EOF), errors.Is(err, dtls.ErrConnClosed):
			c.over.Store(true)
			return 0, err
		case errors.As(err, &timeout) && timeout.Timeout():
			return 0, err
		}
	}
}

func (c *sctpConn) Close() error { return c.SetReadDeadline(time.Now()) }
