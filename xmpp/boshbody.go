package xmpp

import (
	"errors"
	"strconv"
	"time"
)

// boshBody is a request of XEP-0124.
type boshBody struct {
	sid     string
	rid     uint64
	to      string
	wait    time.Duration
	hold    int
	restart bool // XEP-0206 §3
	end     bool // type='terminate'
	// kids are the encoded children, read in scope.
	kids  []string
	scope Scope
}

var errBadBody = errors.New("not a body element")

// parseBody reads the body wrapper and cuts out its children. All of it is
// checked for well-formedness; what the children mean is the stream's business.
func parseBody(src string, lim Limits) (*boshBody, error) {
	lim.Bytes = max(lim.Bytes, len(src)) // the caller has bounded it
	t := newTokenizer(src, lim, Scope{})
	defer t.release()
	if err := t.check(); err != nil {
		return nil, err
	}
	var tok token
	if _, err := t.next(&tok); err != nil {
		return nil, err
	}
	if tok.kind != tokStart || tok.ns != NSHTTPBind || tok.name != "body" {
		return nil, errBadBody
	}
	b := &boshBody{}
	if err := b.attributes(tok.attrs); err != nil {
		return nil, err
	}
	// Children that declare no namespace are taken for stanzas: XEP-0206 wants
	// them declared, and old clients forget.
	b.scope = Scope{Default: NSClient, Prefixes: append([]Binding(nil), t.binds...)}
	depth, start := 0, 0
	for {
		done, err := t.next(&tok)
		switch {
		case err != nil:
			return nil, err
		case done:
			return b, nil
		case tok.kind == tokStart:
			if depth == 0 {
				start = tok.start
			}
			depth++
		case tok.kind == tokEnd && depth > 0:
			if depth--; depth == 0 {
				b.kids = append(b.kids, src[start:tok.end])
			}
		}
	}
}

func (b *boshBody) attributes(attrs []Attr) error {
	b.sid, b.to = attr(attrs, "sid"), attr(attrs, "to")
	b.end = attr(attrs, "type") == "terminate"
	for _, a := range attrs {
		if a.NS == NSXBosh && a.Name == "restart" {
			b.restart = a.Value == "true" || a.Value == "1"
		}
	}
	rid, err := strconv.ParseUint(attr(attrs, "rid"), 10, 53) // XEP-0124 §13
	if err != nil {
		return errBadBody
	}
	b.rid = rid
	b.hold = 1
	if h := attr(attrs, "hold"); h != "" {
		if b.hold, err = strconv.Atoi(h); err != nil || b.hold < 0 {
			return errBadBody
		}
	}
	b.wait = time.Minute
	if w := attr(attrs, "wait"); w != "" {
		n, err := strconv.ParseUint(w, 10, 16)
		if err != nil {
			return errBadBody
		}
		b.wait = time.Duration(n) * time.Second
	}
	return nil
}

// boshTerminate is the body that ends a session, or says that there is none.
func boshTerminate(cond, payload string) []byte {
	return []byte(new(Enc).Start("body", NSHTTPBind).Attr("xmlns:stream", NSStream).
		Attr("type", "terminate").AttrIf("condition", cond).Raw(payload).End().String())
}
