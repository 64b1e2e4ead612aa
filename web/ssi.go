package web

import (
	"bytes"
	"errors"
	"html"
	"path"
	"strings"
)

// The server-side includes that the stock HTML uses (deployment.md §3.3):
//
//	<!--#include virtual="base.html" -->
//	<!--# echo var="subdomain" default="" -->
//
// A page is parsed once into segments and rendered per request. Any other
// directive is dropped, so none ever reaches a browser.

const (
	ssiDepth     = 8       // includes within includes, deployment.md §3.3
	ssiIncludes  = 200     // of one page, all levels together
	ssiOutput    = 8 << 20 // bytes of one page
	ssiDirective = 1024    // bytes of one directive
)

var errSSITooLarge = errors.New("page with its includes is too large")

type segmentKind uint8

const (
	segText segmentKind = iota
	segInclude
	segEcho
)

// segment is a piece of text, or a directive with its parameters.
type segment struct {
	kind segmentKind
	text []byte // segText
	name string // path of an include, variable of an echo
	def  string // default of an echo
	raw  bool   // echo encoding="none"
}

var ssiOpen = []byte("<!--#")

// parseSSI never fails: what isn't a directive is text.
func parseSSI(src []byte) []segment {
	var segs []segment
	for {
		i := bytes.Index(src, ssiOpen)
		if i < 0 {
			break
		}
		if i > 0 {
			segs = append(segs, segment{kind: segText, text: src[:i]})
		}
		src = src[i+len(ssiOpen):]
		end := bytes.Index(src[:min(len(src), ssiDirective)], []byte("-->"))
		if end < 0 {
			// Not closed: leave the author's text, as a comment that no
			// server would take for a directive.
			segs = append(segs, segment{kind: segText, text: []byte("<!-- #")})
			continue
		}
		if s, ok := parseDirective(string(src[:end])); ok {
			segs = append(segs, s)
		}
		src = src[end+len("-->"):]
	}
	if len(src) > 0 {
		segs = append(segs, segment{kind: segText, text: src})
	}
	return segs
}

func parseDirective(s string) (segment, bool) {
	s = strings.TrimSpace(s)
	command, rest := s, ""
	if i := strings.IndexAny(s, " \t\r\n"); i >= 0 {
		command, rest = s[:i], s[i:]
	}
	args := parseArgs(rest)
	switch command {
	case "include":
		v, ok := args["virtual"]
		if !ok {
			v = args["file"]
		}
		return segment{kind: segInclude, name: v}, v != ""
	case "echo":
		return segment{kind: segEcho, name: args["var"], def: args["default"], raw: args["encoding"] == "none"}, args["var"] != ""
	}
	return segment{}, false
}

// parseArgs reads name="value" pairs, in either kind of quotes.
func parseArgs(s string) map[string]string {
	args := make(map[string]string)
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		name, rest, ok := strings.Cut(s, "=")
		if !ok || rest == "" || (rest[0] != '"' && rest[0] != '\'') {
			return args
		}
		value, after, ok := strings.Cut(rest[1:], rest[:1])
		if !ok {
			return args
		}
		args[strings.TrimSpace(name)] = value
		s = after
	}
}

// ssiPage renders one page for one request.
type ssiPage struct {
	load    func(name string) ([]segment, bool) // name is rooted: "/static/x.html"
	vars    map[string]string
	missing func(name string) // an include that could not be had

	out      bytes.Buffer
	includes int
}

// render returns the page with everything resolved, or errSSITooLarge.
func (p *ssiPage) render(doc string, segs []segment) ([]byte, error) {
	if err := p.write(doc, segs, 0); err != nil {
		return nil, err
	}
	// Pieces may have met to form an opening that was in none of them.
	return bytes.ReplaceAll(p.out.Bytes(), ssiOpen, []byte("<!-- #")), nil
}

func (p *ssiPage) write(doc string, segs []segment, depth int) error {
	for _, s := range segs {
		switch s.kind {
		case segText:
			p.out.Write(s.text)
		case segEcho:
			v, ok := p.vars[s.name]
			if !ok {
				v = s.def
			}
			if !s.raw {
				v = html.EscapeString(v)
			}
			p.out.WriteString(v)
		case segInclude:
			name, ok := resolveInclude(doc, s.name)
			if p.includes++; !ok || depth >= ssiDepth || p.includes > ssiIncludes {
				p.missing(s.name)
				continue
			}
			inner, ok := p.load(name)
			if !ok {
				p.missing(s.name)
				continue
			}
			if err := p.write(name, inner, depth+1); err != nil {
				return err
			}
		}
		if p.out.Len() > ssiOutput {
			return errSSITooLarge
		}
	}
	return nil
}

// resolveInclude makes the path of an include absolute within the web
// directory; a URL or a path that climbs is refused.
func resolveInclude(doc, v string) (string, bool) {
	v, _, _ = strings.Cut(v, "?")
	if v == "" || strings.HasPrefix(v, "//") || strings.ContainsAny(v, ":\\\x00") {
		return "", false
	}
	for part := range strings.SplitSeq(v, "/") {
		if part == ".." {
			return "", false
		}
	}
	if !strings.HasPrefix(v, "/") {
		v = path.Dir(doc) + "/" + v
	}
	return path.Clean(v), true
}
