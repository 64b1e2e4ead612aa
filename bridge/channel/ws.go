package channel

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Limits of a WebSocket channel.
type Limits struct {
	Message int           // bytes of one message
	Queue   int           // messages that wait for a slow client
	Ping    time.Duration // between our pings
	Write   time.Duration // for one message, or for the answer to a ping
}

// DefaultLimits are those of bridge.md §6.
var DefaultLimits = Limits{Message: 64 << 10, Queue: 128, Ping: 15 * time.Second, Write: 10 * time.Second}

// Close codes and reasons that LJM knows: 1001 is final for a client that is
// alone (bridge.md §6.2).
var (
	ErrReplaced = errors.New("replaced")
	ErrExpired  = errors.New("endpoint closed")
	ErrSlow     = errors.New("too slow")
)

// Conn is the WebSocket form of a bridge channel.
type Conn struct {
	ws     *websocket.Conn
	lim    Limits
	out    chan []byte
	cancel context.CancelCauseFunc
	ctx    context.Context
}

// Accept upgrades a request. Origins are the business of the web front, which
// serves the page; the password in the URL is what admits.
func Accept(w http.ResponseWriter, r *http.Request, lim Limits) (*Conn, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(int64(lim.Message))
	// Not the request's context: ending a Read by its context cuts the connection
	// before a close frame can be sent.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	return &Conn{ws: ws, lim: lim, out: make(chan []byte, lim.Queue), cancel: cancel, ctx: ctx}, nil
}

// Send queues a message. It never waits: a client that does not read is cut off.
func (c *Conn) Send(b []byte) {
	select {
	case c.out <- b:
	default:
		c.cancel(ErrSlow)
	}
}

// Close ends the channel with the reason: ErrReplaced or ErrExpired.
func (c *Conn) Close(reason error) { c.cancel(reason) }

// End is how a channel ended.
type End uint8

// Ends: with a goodbye, with one that says that something is wrong, and without.
const (
	EndNormal End = iota
	EndAbnormal
	EndBroken
)

// Serve delivers messages until the channel ends, and waits for its writer.
func (c *Conn) Serve(deliver func([]byte)) End {
	var writer sync.WaitGroup
	writer.Go(c.write)
	defer writer.Wait()
	defer c.cancel(nil) // also when deliver panics
	for {
		_, b, err := c.ws.Read(context.Background())
		if err != nil {
			return c.end(err)
		}
		deliver(b)
	}
}

// end says what it means that no more can be read.
func (c *Conn) end(err error) End {
	switch cause := context.Cause(c.ctx); {
	case errors.Is(cause, ErrReplaced), errors.Is(cause, ErrExpired):
		return EndNormal
	case errors.Is(cause, ErrSlow):
		return EndAbnormal
	}
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return EndNormal // as JVB counts: a tab was closed, or the library says nothing
	case -1:
		return EndBroken
	}
	return EndAbnormal
}

func (c *Conn) write() {
	ping := time.NewTicker(c.lim.Ping)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-c.ctx.Done():
			c.goodbye()
			return
		case b := <-c.out:
			ctx, cancel := context.WithTimeout(context.Background(), c.lim.Write)
			err = c.ws.Write(ctx, websocket.MessageText, b)
			cancel()
		case <-ping.C:
			ctx, cancel := context.WithTimeout(context.Background(), c.lim.Write)
			err = c.ws.Ping(ctx)
			cancel()
		}
		if err != nil {
			c.cancel(err)
			_ = c.ws.CloseNow()
			return
		}
	}
}

func (c *Conn) goodbye() {
	switch err := context.Cause(c.ctx); {
	case errors.Is(err, ErrReplaced):
		_ = c.ws.Close(websocket.StatusNormalClosure, err.Error())
	case errors.Is(err, ErrExpired):
		_ = c.ws.Close(websocket.StatusGoingAway, err.Error())
	case errors.Is(err, ErrSlow):
		_ = c.ws.Close(websocket.StatusPolicyViolation, err.Error())
	default:
		_ = c.ws.CloseNow()
	}
}
