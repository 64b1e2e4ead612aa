package xmpp

import "bytes"

// splitter cuts a TCP stream into its header, its top-level elements and its end.
// It only counts: what is inside an element is checked by the scanner.
type splitter struct {
	buf    []byte // what is not cut off yet; begins at pos 0 of the current piece
	pos    int    // looked at so far
	depth  int
	state  splitState
	quote  byte
	header bool // the stream header has been seen
}

type splitState uint8

const (
	splitText  splitState = iota
	splitOpen             // after "<"
	splitStart            // in a start tag
	splitQuote            // in an attribute value
	splitEnd              // in an end tag
	splitBang             // after "<!": only CDATA is allowed
	splitCDATA
	splitPI // in the XML declaration before the header
)

// piece is what next cuts off.
type piece struct {
	kind pieceKind
	text string
}

type pieceKind uint8

const (
	pieceNone    pieceKind = iota // more input is needed
	pieceHeader                   // the start tag of the stream
	pieceElement                  // a whole element
	pieceEnd                      // the end tag of the stream
)

const cdataOpen = "<![CDATA["

// feed appends input. The splitter keeps no reference to b.
func (s *splitter) feed(b []byte) { s.buf = append(s.buf, b...) }

// next cuts off the next piece; one that is longer than limit is ErrTooBig.
func (s *splitter) next(limit int) (piece, error) {
	for s.pos < len(s.buf) {
		switch s.state {
		case splitText:
			if err := s.text(); err != nil {
				return piece{}, err
			}
		case splitOpen:
			if err := s.markup(); err != nil {
				return piece{}, err
			}
		case splitStart:
			if p, ok, err := s.startTag(); ok || err != nil {
				return s.checked(p, limit, err)
			}
		case splitQuote:
			if i := bytes.IndexByte(s.buf[s.pos:], s.quote); i >= 0 {
				s.pos += i + 1
				s.state = splitStart
			} else {
				s.pos = len(s.buf)
			}
		case splitEnd:
			if p, ok, err := s.endTag(); ok || err != nil {
				return s.checked(p, limit, err)
			}
		case splitBang:
			at := bytes.LastIndexByte(s.buf[:s.pos], '<')
			got := s.buf[at:]
			n := min(len(got), len(cdataOpen))
			if s.depth == 0 || string(got[:n]) != cdataOpen[:n] {
				return piece{}, ErrRestrictedXML
			}
			if n < len(cdataOpen) {
				return s.more(limit)
			}
			s.pos = at + n
			s.state = splitCDATA
		case splitCDATA:
			if !s.skipTo("]]>") {
				return s.more(limit)
			}
		case splitPI:
			if !s.skipTo("?>") {
				return s.more(limit)
			}
			s.cut()
		}
	}
	return s.more(limit)
}

func (s *splitter) more(limit int) (piece, error) {
	if len(s.buf) > limit {
		return piece{}, ErrTooBig
	}
	return piece{}, nil
}

func (s *splitter) checked(p piece, limit int, err error) (piece, error) {
	if err == nil && len(p.text) > limit {
		err = ErrTooBig
	}
	return p, err
}

// text skips character data; between elements only white space is allowed, and
// forgotten.
func (s *splitter) text() error {
	i := bytes.IndexByte(s.buf[s.pos:], '<')
	end := s.pos + i
	if i < 0 {
		end = len(s.buf)
	}
	if s.depth == 0 {
		if len(bytes.Trim(s.buf[s.pos:end], " \t\r\n")) > 0 {
			return ErrNotWellFormed
		}
		s.pos = end
		s.cut()
	} else {
		s.pos = end
	}
	if i >= 0 {
		s.pos++
		s.state = splitOpen
	}
	return nil
}

func (s *splitter) markup() error {
	switch s.buf[s.pos] {
	case '/':
		s.state = splitEnd
	case '!':
		s.state = splitBang
	case '?':
		if s.header {
			return ErrRestrictedXML
		}
		s.state = splitPI
	default:
		s.state = splitStart
		return nil // may be the end of the tag already: "<>" is the scanner's business
	}
	s.pos++
	return nil
}

func (s *splitter) startTag() (piece, bool, error) {
	for ; s.pos < len(s.buf); s.pos++ {
		switch c := s.buf[s.pos]; c {
		case '"', '\'':
			s.quote, s.state = c, splitQuote
			s.pos++
			return piece{}, false, nil
		case '<':
			return piece{}, false, ErrNotWellFormed
		case '>':
			empty := s.buf[s.pos-1] == '/'
			s.pos++
			s.state = splitText
			switch {
			case !s.header && empty:
				return piece{}, false, ErrNotWellFormed // a stream that is no stream
			case !s.header:
				s.header = true
				return piece{pieceHeader, s.cut()}, true, nil
			case empty && s.depth == 0:
				return piece{pieceElement, s.cut()}, true, nil
			case !empty:
				s.depth++
			}
			return piece{}, false, nil
		}
	}
	return piece{}, false, nil
}

func (s *splitter) endTag() (piece, bool, error) {
	i := bytes.IndexByte(s.buf[s.pos:], '>')
	if i < 0 {
		s.pos = len(s.buf)
		return piece{}, false, nil
	}
	s.pos += i + 1
	s.state = splitText
	if s.depth == 0 {
		if !s.header {
			return piece{}, false, ErrNotWellFormed
		}
		return piece{pieceEnd, s.cut()}, true, nil
	}
	if s.depth--; s.depth == 0 {
		return piece{pieceElement, s.cut()}, true, nil
	}
	return piece{}, false, nil
}

// skipTo moves behind end, or as far as there is input.
func (s *splitter) skipTo(end string) bool {
	i := bytes.Index(s.buf[s.pos:], []byte(end))
	if i < 0 {
		s.pos = max(s.pos, len(s.buf)-len(end)+1) // the end may be cut in two
		return false
	}
	s.pos += i + len(end)
	s.state = splitText
	return true
}

// cut takes off what has been looked at.
func (s *splitter) cut() string {
	text := string(s.buf[:s.pos])
	s.buf = append(s.buf[:0], s.buf[s.pos:]...)
	if len(s.buf) == 0 && cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	s.pos = 0
	return text
}

// restart expects a new header: after SASL, with the input that has come already.
func (s *splitter) restart() { s.header, s.depth, s.state = false, 0, splitText }
