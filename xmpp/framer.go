package xmpp

// Transports as they are named in logs and figures.
const (
	TransportWebSocket = "websocket"
	TransportBOSH      = "bosh"
	TransportTCP       = "tcp"
)

// inbound is one thing that a connection brings.
type inbound struct {
	kind  inboundKind
	text  string // of an element
	scope Scope  // that the element is read in
	to    string // of an opened stream
}

type inboundKind uint8

const (
	inElement inboundKind = iota
	inOpen                // the client opens a stream, or opens it anew
	inClose               // the client ends it
	inNothing             // a sign of life
)

// framer carries complete top-level elements over one connection. read is called
// by the connection's reader only; put, flush, greet and finish by one goroutine
// at a time: the reader until a session is bound, its writer from then on.
type framer interface {
	transport() string
	// namespaced says that each stanza carries xmlns='jabber:client'.
	namespaced() bool
	// read waits for the next element of at most limit bytes. A *StreamError
	// means that the peer broke the rules.
	read(limit int) (inbound, error)
	// restart expects a new stream header from the client, who has logged in.
	restart()
	// greet writes our stream header.
	greet(from JID, id string) error
	// put writes one element, perhaps only into a buffer; it does not keep b.
	put(b []byte) error
	flush() error
	// finish ends the stream, with an error unless e is nil, and the connection.
	finish(e *StreamError)
	// kill makes read and put fail soon. It may be called by anyone, never waits.
	kill()
	// release frees the connection; both goroutines have ended or will shortly.
	release()
}

// streamErrorText encodes a stream error; LJM wants the condition's literal
// xmlns (client-signaling.md §2.1).
func streamErrorText(e *StreamError) string {
	var enc Enc
	enc.Start("stream:error", "").Attr("xmlns:stream", NSStream)
	enc.Start(e.Cond, NSStreams).End()
	if e.Text != "" {
		enc.Leaf("text", NSStreams, e.Text)
	}
	return enc.Raw(e.App).End().String()
}
