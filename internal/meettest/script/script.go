// Package script runs wire transcripts: text files that say what clients send
// and what the server must answer.
//
//	# A second participant sees the first, then itself with 110.
//	C1: <presence to='r@conference.meet.example/aaaa1111'><x xmlns='http://jabber.org/protocol/muc'/></presence>
//	S1: <presence from='r@conference.meet.example/aaaa1111' ...>
//	      <x xmlns='http://jabber.org/protocol/muc#user'>...</x></presence>
//	S1: nothing
//	wait 3s
//
// Rules of the form:
//   - A line "C<name>:" is sent by that client, "S<name>:" must be the next thing
//     it gets. Lines that begin with white space go on with the one before.
//   - Comparison is on trees: order of attributes and children does not matter,
//     nor does white space around elements. "..." inside a tag allows more
//     attributes and any inherited namespace, as content more children and any
//     text.
//   - {name} in an expected value takes whatever stands there; where it has been
//     taken before it must be the same, and in C lines it is filled in.
//   - "S<name>: nothing" means that nothing waits for the client; "S<name>: skip"
//     throws away what does; "C<name>!" disconnects it; "wait <duration>" lets
//     time pass.
package script

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"confab/xmpp"
)

// Conn is one client's connection.
type Conn interface {
	// Send sends one element, as the client writes it.
	Send(xml string) error
	// Receive returns the next element that arrived; "" when there is none and
	// none will come without something else happening.
	Receive() (string, error)
	// Close cuts the connection.
	Close() error
}

// Env is where a script runs.
type Env struct {
	// Dial connects a client at its first use.
	Dial func(name string) (Conn, error)
	// Wait lets time pass; time.Sleep inside a synctest bubble.
	Wait func(time.Duration)
	// Vars are known from the start, by name without braces.
	Vars map[string]string
}

type step struct {
	line       int
	kind       byte // C, S, !, w
	name, text string
}

var stepRE = regexp.MustCompile(`^([CS])([A-Za-z0-9]+)(:|!)\s*(.*)$`)

func parse(src string) ([]step, error) {
	var out []step
	for i, l := range strings.Split(src, "\n") {
		l = strings.TrimRight(l, " \t\r")
		switch {
		case l == "" || l[0] == '#':
		case l[0] == ' ' || l[0] == '\t':
			if len(out) == 0 {
				return nil, fmt.Errorf("line %d: nothing to go on with", i+1)
			}
			out[len(out)-1].text += "\n" + strings.TrimSpace(l)
		case strings.HasPrefix(l, "wait "):
			out = append(out, step{line: i + 1, kind: 'w', text: strings.TrimSpace(l[5:])})
		default:
			m := stepRE.FindStringSubmatch(l)
			if m == nil {
				return nil, fmt.Errorf("line %d: not a step: %s", i+1, l)
			}
			kind := m[1][0]
			if m[3] == "!" {
				kind = '!'
			}
			out = append(out, step{line: i + 1, kind: kind, name: m[2], text: m[4]})
		}
	}
	return out, nil
}

// RunFile runs the script in a file.
func RunFile(t *testing.T, path string, env Env) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	Run(t, string(src), env)
}

// Run runs a script; the first surprise ends the test.
func Run(t *testing.T, src string, env Env) {
	t.Helper()
	steps, err := parse(src)
	if err != nil {
		t.Fatal(err)
	}
	r := runner{env: env, conns: map[string]Conn{}, vars: map[string]string{}}
	for k, v := range env.Vars {
		r.vars[k] = v
	}
	defer func() {
		for _, c := range r.conns {
			_ = c.Close()
		}
	}()
	for _, st := range steps {
		if err := r.do(st); err != nil {
			t.Fatalf("line %d: %v", st.line, err)
		}
	}
}

type runner struct {
	env   Env
	conns map[string]Conn
	vars  map[string]string
}

func (r *runner) do(st step) error {
	if st.kind == 'w' {
		d, err := time.ParseDuration(st.text)
		if err != nil {
			return err
		}
		r.env.Wait(d)
		return nil
	}
	c := r.conns[st.name]
	if c == nil {
		var err error
		if c, err = r.env.Dial(st.name); err != nil {
			return fmt.Errorf("connect %s: %w", st.name, err)
		}
		r.conns[st.name] = c
	}
	switch st.kind {
	case '!':
		delete(r.conns, st.name)
		return c.Close()
	case 'C':
		if st.text == "" {
			return nil // it only connects
		}
		return c.Send(r.fill(st.text))
	}
	switch st.text {
	case "skip":
		for {
			if got, err := c.Receive(); got == "" || err != nil {
				return err
			}
		}
	case "nothing":
		if got, err := c.Receive(); got != "" || err != nil {
			return fmt.Errorf("%s should get nothing, got %s (%v)", st.name, got, err)
		}
		return nil
	}
	got, err := c.Receive()
	if err != nil {
		return err
	}
	if got == "" {
		return fmt.Errorf("%s gets nothing, wants\n%s", st.name, st.text)
	}
	if err := r.match(st.text, got); err != nil {
		return fmt.Errorf("%s: %w\n  got  %s\n  want %s", st.name, err, got, r.fill(st.text))
	}
	return nil
}

var varRE = regexp.MustCompile(`\{[a-z][a-z0-9_]*\}`)

// fill puts in what is known.
func (r *runner) fill(s string) string {
	return varRE.ReplaceAllStringFunc(s, func(m string) string {
		if v, ok := r.vars[m[1:len(m)-1]]; ok {
			return xmpp.Escape(v)
		}
		return m
	})
}

// anyMark stands for "..." once the pattern is well-formed XML.
const anyMark = "any-more"

var (
	tagRE  = regexp.MustCompile(`<[^<>]*>`)
	dotsRE = regexp.MustCompile(`\s\.\.\.(\s*/?>)$`)
)

// pattern turns an expected element into XML.
func pattern(s string) (*xmpp.Element, error) {
	s = tagRE.ReplaceAllStringFunc(s, func(tag string) string { return dotsRE.ReplaceAllString(tag, ` `+anyMark+`=""$1`) })
	s = strings.ReplaceAll(s, "...", "<"+anyMark+"/>")
	return xmpp.ParseElement(s, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
}

func (r *runner) match(want, got string) error {
	w, err := pattern(r.fill(want))
	if err != nil {
		return fmt.Errorf("the script's element: %w", err)
	}
	g, err := xmpp.ParseElement(got, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil {
		return fmt.Errorf("what arrived: %w", err)
	}
	vars := map[string]string{}
	if err := r.element(w, g, "", vars); err != nil {
		return err
	}
	for k, v := range vars {
		r.vars[k] = v
	}
	return nil
}

// element compares a tree below an expected element of namespace outer. A tag
// with "..." that declares no namespace of its own may have any.
func (r *runner) element(w, g *xmpp.Element, outer string, vars map[string]string) error {
	_, open := w.Lookup(anyMark)
	if w.Name != g.Name || w.NS != g.NS && !(open && w.NS == outer) {
		return fmt.Errorf("<%s xmlns=%q> instead of <%s xmlns=%q>", g.Name, g.NS, w.Name, w.NS)
	}
	more := false
	want := map[string]bool{}
	for _, a := range w.Attr {
		if a.Name == anyMark {
			more = true
			continue
		}
		want[a.NS+" "+a.Name] = true
		v, ok := lookup(g, a)
		if !ok {
			return fmt.Errorf("<%s> lacks %s", g.Name, a.Name)
		}
		if err := r.value(a.Value, v, vars); err != nil {
			return fmt.Errorf("<%s %s>: %w", g.Name, a.Name, err)
		}
	}
	for _, a := range g.Attr {
		if !more && !want[a.NS+" "+a.Name] {
			return fmt.Errorf("<%s> has %s=%q", g.Name, a.Name, a.Value)
		}
	}
	return r.content(w, g, vars)
}

func (r *runner) content(w, g *xmpp.Element, vars map[string]string) error {
	more := false
	left := append([]*xmpp.Element(nil), g.Kids...)
	for _, wk := range w.Kids {
		if wk.Name == anyMark {
			more = true
			continue
		}
		found := -1
		var first error
		for i, gk := range left {
			try := map[string]string{}
			for k, v := range vars {
				try[k] = v
			}
			err := r.element(wk, gk, w.NS, try)
			if err == nil {
				found = i
				for k, v := range try {
					vars[k] = v
				}
				break
			}
			if first == nil || gk.Name == wk.Name {
				first = err
			}
		}
		if found < 0 {
			return fmt.Errorf("<%s> lacks <%s>: %v", g.Name, wk.Name, first)
		}
		left = append(left[:found], left[found+1:]...)
	}
	if more {
		return nil
	}
	if len(left) > 0 {
		return fmt.Errorf("<%s> has <%s>", g.Name, left[0])
	}
	if len(g.Kids) > 0 && strings.TrimSpace(g.Text) == "" && strings.TrimSpace(w.Text) == "" {
		return nil
	}
	if err := r.value(w.Text, g.Text, vars); err != nil {
		return fmt.Errorf("text of <%s>: %w", g.Name, err)
	}
	return nil
}

func lookup(g *xmpp.Element, a xmpp.Attr) (string, bool) {
	for _, x := range g.Attr {
		if x.NS == a.NS && x.Name == a.Name {
			return x.Value, true
		}
	}
	return "", false
}

// value compares one attribute or text, taking what {name} stands for.
func (r *runner) value(want, got string, vars map[string]string) error {
	names := varRE.FindAllString(want, -1)
	if names == nil {
		if want != got {
			return fmt.Errorf("%q instead of %q", got, want)
		}
		return nil
	}
	re := "(?s)^"
	rest := want
	for _, n := range names {
		i := strings.Index(rest, n)
		re += regexp.QuoteMeta(rest[:i]) + "(.+?)"
		rest = rest[i+len(n):]
	}
	m := regexp.MustCompile(re + regexp.QuoteMeta(rest) + "$").FindStringSubmatch(got)
	if m == nil {
		return fmt.Errorf("%q does not look like %q", got, want)
	}
	for i, n := range names {
		n = n[1 : len(n)-1]
		if old, ok := vars[n]; ok && old != m[i+1] {
			return fmt.Errorf("{%s} was %q and is %q", n, old, m[i+1])
		}
		vars[n] = m[i+1]
	}
	return nil
}
