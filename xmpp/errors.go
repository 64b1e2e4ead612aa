package xmpp

import (
	"errors"
	"fmt"
)

// Conditions of stanza errors (RFC 6120 §8.3.3) that this server uses.
const (
	CondBadRequest            = "bad-request"
	CondConflict              = "conflict"
	CondFeatureNotImplemented = "feature-not-implemented"
	CondForbidden             = "forbidden"
	CondGone                  = "gone"
	CondInternalServerError   = "internal-server-error"
	CondItemNotFound          = "item-not-found"
	CondJIDMalformed          = "jid-malformed"
	CondNotAcceptable         = "not-acceptable"
	CondNotAllowed            = "not-allowed"
	CondNotAuthorized         = "not-authorized"
	CondRecipientUnavailable  = "recipient-unavailable"
	CondRegistrationRequired  = "registration-required"
	CondRemoteServerNotFound  = "remote-server-not-found"
	CondRemoteServerTimeout   = "remote-server-timeout"
	CondResourceConstraint    = "resource-constraint"
	CondServiceUnavailable    = "service-unavailable"
	CondUnexpectedRequest     = "unexpected-request"
)

// StanzaError is an answer that the protocol gives to a peer. Text is public.
type StanzaError struct {
	Type string // cancel, continue, modify, auth, wait
	Cond string
	Text string
	App  string // encoded application-specific elements, or ""
	By   string // who says so, or ""

	Code   string // of XEP-0086, which Jitsi's own errors carry, or ""
	Beside string // encoded elements that go beside the error element, or ""
}

func (e *StanzaError) Error() string {
	if e.Text == "" {
		return e.Type + "/" + e.Cond
	}
	return e.Type + "/" + e.Cond + ": " + e.Text
}

// Constructors, named by condition, with the error type that RFC 6120 §8.3.3
// recommends. LJM matches on the type, too.

func BadRequest(text string) *StanzaError {
	return &StanzaError{Type: "modify", Cond: CondBadRequest, Text: text}
}
func Conflict(text string) *StanzaError {
	return &StanzaError{Type: "cancel", Cond: CondConflict, Text: text}
}
func FeatureNotImplemented(text string) *StanzaError {
	return &StanzaError{Type: "cancel", Cond: CondFeatureNotImplemented, Text: text}
}
func Forbidden(text string) *StanzaError {
	return &StanzaError{Type: "auth", Cond: CondForbidden, Text: text}
}
func InternalServerError(text string) *StanzaError {
	return &StanzaError{Type: "cancel", Cond: CondInternalServerError, Text: text}
}
func ItemNotFound(text string) *StanzaError {
	return &StanzaError{Type: "cancel", Cond: CondItemNotFound, Text: text}
}
func JIDMalformed(text string) *StanzaError {
	return &StanzaError{Type: "modify", Cond: CondJIDMalformed, Text: text}
}
func NotAcceptable(text string) *StanzaError {
	return &StanzaError{Type: "modify", Cond: CondNotAcceptable, Text: text}
}
func NotAllowed(text string) *StanzaError {
	return &StanzaError{Type: "cancel", Cond: CondNotAllowed, Text: text}
}
func NotAuthorized(text string) *StanzaError {
	return &StanzaError{Type: "auth", Cond: CondNotAuthorized, Text: text}
}
func RegistrationRequired(text string) *StanzaError {
	return &StanzaError{Type: "auth", Cond: CondRegistrationRequired, Text: text}
}
func RemoteServerNotFound(text string) *StanzaError {
	return &StanzaError{Type: "cancel", Cond: CondRemoteServerNotFound, Text: text}
}
func RemoteServerTimeout(text string) *StanzaError {
	return &StanzaError{Type: "wait", Cond: CondRemoteServerTimeout, Text: text}
}
func ResourceConstraint(text string) *StanzaError {
	return &StanzaError{Type: "wait", Cond: CondResourceConstraint, Text: text}
}
func ServiceUnavailable(text string) *StanzaError {
	return &StanzaError{Type: "cancel", Cond: CondServiceUnavailable, Text: text}
}

// Inner encodes the error element.
func (e *StanzaError) Inner() string {
	var enc Enc
	enc.Start("error", "").Attr("type", e.Type).AttrIf("code", e.Code).AttrIf("by", e.By)
	enc.Start(e.Cond, NSStanzas).End()
	if e.Text != "" {
		enc.Leaf("text", NSStanzas, e.Text)
	}
	return enc.Raw(e.App).End().String()
}

// Reply is the error reply to s, with addresses swapped.
func (e *StanzaError) Reply(s *Stanza) *Stanza {
	return NewStanza(s.Kind, TypeError, s.ID, s.To, s.From, e.Inner()+e.Beside)
}

// ErrorOf reads the error of a stanza of type error.
func (s *Stanza) ErrorOf() *StanzaError {
	el := s.Child(NSClient, "error")
	if el == nil {
		return &StanzaError{Type: "cancel", Cond: "undefined-condition"}
	}
	e := &StanzaError{Type: el.Get("type"), Cond: "undefined-condition", By: el.Get("by")}
	var app Enc
	for _, k := range el.Kids {
		switch {
		case k.NS == NSStanzas && k.Name == "text":
			e.Text = k.Text
		case k.NS == NSStanzas:
			e.Cond = k.Name
		default:
			app.Element(k, "")
		}
	}
	e.App = app.String()
	return e
}

// StreamError ends a stream (RFC 6120 §4.9). Text is public; App holds encoded
// application-specific elements, or "".
type StreamError struct{ Cond, Text, App string }

func (e *StreamError) Error() string { return fmt.Sprintf("stream error %s: %s", e.Cond, e.Text) }

// SASLFailure refuses an authentication (RFC 6120 §6.5).
type SASLFailure struct{ Cond, Text string }

func (e *SASLFailure) Error() string { return fmt.Sprintf("sasl failure %s: %s", e.Cond, e.Text) }

// Encode is the failure in the one form that LJM reads the text from: the
// condition self-closed without attributes, text without attributes.
func (e *SASLFailure) Encode() string {
	var enc Enc
	enc.Start("failure", NSSASL).Start(e.Cond, "").End()
	if e.Text != "" {
		enc.Leaf("text", "", e.Text)
	}
	return enc.End().String()
}

// Errors of ports and the router.
var (
	// ErrGone means that nobody is behind a port any more.
	ErrGone = errors.New("recipient gone")
	// ErrFull means that the recipient's queue is full.
	ErrFull = errors.New("recipient queue full")
	// ErrTimeout means that a request was not answered in time.
	ErrTimeout = errors.New("request timed out")
)
