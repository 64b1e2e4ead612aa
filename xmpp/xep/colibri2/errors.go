package colibri2

import (
	"errors"

	"confab/xmpp"
)

// Reasons of a colibri2 error. A reason, even unspecified, proves that the bridge
// itself spoke, and not the MUC between.
const (
	ReasonConferenceNotFound      = "conference_not_found"
	ReasonConferenceAlreadyExists = "conference_already_exists"
	ReasonFeatureNotImplemented   = "feature_not_implemented"
	ReasonGracefulShutdown        = "graceful_shutdown"
	ReasonUnknownEndpoint         = "unknown_endpoint"
	ReasonUnspecified             = "unspecified"
)

// Error is a refusal by the bridge.
type Error struct {
	Stanza   *xmpp.StanzaError
	Reason   string // "" when the bridge gave none, or did not speak at all
	Endpoint string // of ReasonUnknownEndpoint
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return e.Stanza.Error()
	}
	return e.Stanza.Error() + " (" + e.Reason + ")"
}

func (e *Error) Unwrap() error { return e.Stanza }

// FromBridge reports whether the bridge itself spoke.
func (e *Error) FromBridge() bool { return e.Reason != "" }

// Refuse is the stanza error with the reason; endpoint is "" unless the reason is
// ReasonUnknownEndpoint.
func Refuse(se *xmpp.StanzaError, reason, endpoint string) *xmpp.StanzaError {
	var app xmpp.Enc
	app.Start("error", NS).Attr("reason", reason).End()
	if endpoint != "" {
		app.Start("endpoint", NS).Attr("id", endpoint).End()
	}
	out := *se
	out.App = app.String()
	return &out
}

// ReadError reads the answer of a bridge from what LocalPort.Go reports; nil when
// err is no stanza error.
func ReadError(err error) *Error {
	var se *xmpp.StanzaError
	if !errors.As(err, &se) {
		return nil
	}
	e := &Error{Stanza: se}
	if se.App == "" {
		return e
	}
	root, perr := xmpp.ParseElement("<error>"+se.App+"</error>", xmpp.Limits{}, xmpp.Scope{})
	if perr != nil {
		return e
	}
	if k := root.Child(NS, "error"); k != nil {
		if e.Reason = k.Get("reason"); e.Reason == "" {
			e.Reason = ReasonUnspecified
		}
		e.Endpoint = root.Child(NS, "endpoint").Get("id")
	}
	return e
}
