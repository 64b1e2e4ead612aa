package xmpp

import (
	"errors"
	"strconv"
)

// ackRequest asks the client what it has handled (XEP-0198 §4).
const ackRequest = `<r xmlns="` + NSSM + `"/>`

// smIDBytes makes stream-management ids of 144 bits: whoever knows one may take
// the session over.
const smIDBytes = 18

// smFailed refuses a request of stream management.
func smFailed(cond string) string {
	return new(Enc).Start("failed", NSSM).Start(cond, NSStanzas).End().End().String()
}

// handleSM takes the stream-management elements of a bound client. It is called
// with inMu held.
func (s *Session) handleSM(el *Element) error {
	switch el.Name {
	case "enable":
		return s.enable(el.Get("resume") == "true" || el.Get("resume") == "1")
	case "r":
		if s.counted {
			return s.send(outItem{raw: new(Enc).Start("a", NSSM).Attr("h", strconv.FormatUint(uint64(s.h), 10)).End().String()})
		}
		return nil
	case "a":
		h, err := strconv.ParseUint(el.Get("h"), 10, 32)
		if err != nil {
			return &StreamError{Cond: "undefined-condition"}
		}
		return tooHigh(s.q.ack(uint32(h)))
	case "resume":
		return s.send(outItem{raw: smFailed(CondUnexpectedRequest)})
	}
	return &StreamError{Cond: "unsupported-stanza-type"}
}

// enable starts counting. LJM holds all output back until the answer comes, and
// takes a failure for the end of the session.
func (s *Session) enable(resume bool) error {
	if s.counted {
		return s.send(outItem{raw: smFailed(CondUnexpectedRequest)})
	}
	s.counted = true
	var e Enc
	e.Start("enabled", NSSM)
	if resume {
		id := randomID(smIDBytes)
		s.mu.Lock()
		s.smID = id
		s.mu.Unlock()
		s.srv.setResumable(id, s)
		e.Attr("id", id).Attr("resume", "true").
			Attr("max", strconv.Itoa(int(s.srv.cfg.ResumeTimeout.Seconds())))
	}
	return s.send(outItem{raw: e.End().String(), mark: markCount})
}

// tooHigh turns an acknowledgement of more than was sent into the stream error
// of XEP-0198 §4.
func tooHigh(err error) error {
	var he *handledError
	if !errors.As(err, &he) {
		return err
	}
	return &StreamError{
		Cond: "undefined-condition",
		Text: "You acknowledged more stanzas than sent by the server",
		App: new(Enc).Start("handled-count-too-high", NSSM).
			Attr("h", strconv.FormatUint(uint64(he.h), 10)).
			Attr("send-count", strconv.FormatUint(uint64(he.sent), 10)).End().String(),
	}
}

// negotiateSM takes what comes instead of bind.
func (st *stream) negotiateSM(el *Element) error {
	if el.Name != "resume" || st.fr.transport() == TransportBOSH {
		return st.writeNow(smFailed(CondUnexpectedRequest))
	}
	h, err := strconv.ParseUint(el.Get("h"), 10, 32)
	if err != nil {
		return st.writeNow(smFailed(CondBadRequest))
	}
	previd := el.Get("previd")
	s := st.srv.resumed(previd)
	if s == nil || s.host != st.host || s.jid.Local != st.account.Name {
		st.srv.stats.notResumed.Add(1)
		return st.writeNow(smFailed(CondItemNotFound))
	}
	token, err := s.resume(st, uint32(h))
	if errors.Is(err, ErrGone) {
		st.srv.stats.notResumed.Add(1)
		return st.writeNow(smFailed(CondItemNotFound))
	}
	if err != nil {
		return tooHigh(err)
	}
	st.srv.stats.resumed.Add(1)
	st.srv.log.Debug("session resumed", "jid", s.jid.String(), "addr", st.remote.String())
	st.attached(s, token)
	return nil
}

// resume makes st the session's connection, though the old one may still look
// alive: it is replaced. It waits for the stanza that the old one is handling.
func (s *Session) resume(st *stream, h uint32) (*outToken, error) {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrGone
	}
	token, err := s.q.resume(h, new(Enc).Start("resumed", NSSM).
		Attr("h", strconv.FormatUint(uint64(s.h), 10)).Attr("previd", s.smID).End().String())
	if err != nil {
		return nil, err
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.stream, s.token = st, token
	s.attrs, s.remote = s.attrs.merge(st.attrs), st.remote
	if st.account.Claims != nil {
		s.claims = st.account.Claims // without a new token the old one stays good, as with stock
	}
	return token, nil
}
