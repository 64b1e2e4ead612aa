package web

import (
	"errors"
	"strings"
	"testing"
)

func renderSSI(files map[string]string, doc string, vars map[string]string) (string, []string, error) {
	var missing []string
	p := ssiPage{
		vars: vars,
		load: func(name string) ([]segment, bool) {
			src, ok := files[name]
			return parseSSI([]byte(src)), ok
		},
		missing: func(name string) { missing = append(missing, name) },
	}
	out, err := p.render(doc, parseSSI([]byte(files[doc])))
	return string(out), missing, err
}

func TestSSI(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"/base.html": "BASE", "/static/a.html": "A", "/static/b.html": `[<!--#include virtual="a.html" -->]`,
	}
	vars := map[string]string{"subdir": "acme/", "evil": `<script>"`}
	for _, c := range []struct{ name, src, want, missing string }{
		{"relative", `x<!--#include virtual="base.html" -->y`, "xBASEy", ""},
		{"absolute", `<!--#include virtual="/static/a.html" -->`, "A", ""},
		{"blank before the command", `<!--# include virtual="base.html"-->`, "BASE", ""},
		{"single quotes", `<!--#include virtual='base.html' -->`, "BASE", ""},
		{"more parameters", `<!--#include virtual="base.html" wait="yes" -->`, "BASE", ""},
		{"query", `<!--#include virtual="base.html?x=1" -->`, "BASE", ""},
		{"nested, relative to the includer", `<!--#include virtual="static/b.html" -->`, "[A]", ""},
		{"missing", `<!--#include virtual="none.html" -->`, "", "none.html"},
		{"climbing", `<!--#include virtual="../base.html" -->`, "", "../base.html"},
		{"climbing inside", `<!--#include virtual="static/../base.html" -->`, "", "static/../base.html"},
		{"URL", `<!--#include virtual="http://x/y" -->`, "", "http://x/y"},
		{"host", `<!--#include virtual="//x/y" -->`, "", "//x/y"},
		{"echo", `<!--# echo var="subdir" default="" -->`, "acme/", ""},
		{"echo default", `<!--# echo var="none" default="d&d" -->`, "d&amp;d", ""},
		{"echo is escaped", `<!--# echo var="evil" -->`, "&lt;script&gt;&#34;", ""},
		{"echo unescaped by the author", `<!--# echo var="evil" encoding="none" -->`, `<script>"`, ""},
		{"unknown command", `a<!--#exec cmd="rm" -->b`, "ab", ""},
		{"not closed", `a<!--#include virtual="base.html"`, `a<!-- #include virtual="base.html"`, ""},
		{"plain comment", `<!-- # -->`, `<!-- # -->`, ""},
		{"quote not closed", `a<!--#include virtual="base.html -->b`, "ab", ""},
		{"met pieces", `<<!--#x-->!--#include virtual="base.html" -->`, `<!-- #include virtual="base.html" -->`, ""},
	} {
		files["/doc.html"] = c.src
		got, missing, err := renderSSI(files, "/doc.html", vars)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
		if strings.Join(missing, ",") != c.missing {
			t.Errorf("%s: missing %q, want %q", c.name, missing, c.missing)
		}
	}
}

func TestSSIIsBounded(t *testing.T) {
	t.Parallel()
	// Itself, and ever more of itself.
	got, missing, err := renderSSI(map[string]string{"/doc.html": `x<!--#include virtual="doc.html" -->`}, "/doc.html", nil)
	if err != nil || got != strings.Repeat("x", ssiDepth+1) || len(missing) != 1 {
		t.Errorf("recursion: %q %v %v", got, missing, err)
	}
	twice := strings.Repeat(`<!--#include virtual="doc.html" -->`, 50) + strings.Repeat("y", 1000)
	got, _, err = renderSSI(map[string]string{"/doc.html": twice}, "/doc.html", nil)
	if err != nil || len(got) > (ssiIncludes+1)*1000 {
		t.Errorf("fan-out: %d bytes, %v", len(got), err)
	}
	big := strings.Repeat("z", ssiOutput/4)
	_, _, err = renderSSI(map[string]string{"/doc.html": strings.Repeat(`<!--#include virtual="big.html" -->`, 8), "/big.html": big}, "/doc.html", nil)
	if !errors.Is(err, errSSITooLarge) {
		t.Errorf("size: %v", err)
	}
}

func FuzzSSI(f *testing.F) {
	f.Add(`<!--#include virtual="other.html" -->`, `<!--# echo var="v" -->`, "value")
	f.Add(`<!--#include virtual="doc.html" --><!--#include virtual="doc.html" -->`, "", "")
	f.Add(`<<!--#x-->!--#`, `<!--#include virtual='doc.html'-->`, "-->")
	f.Add(`<!--#`, `<!--# echo var= default="`, "\x00")
	f.Fuzz(func(t *testing.T, doc, other, value string) {
		if len(doc)+len(other)+len(value) > 1<<14 {
			return
		}
		out, _, err := renderSSI(map[string]string{"/doc.html": doc, "/other.html": other}, "/doc.html", map[string]string{"v": value})
		if err != nil {
			return
		}
		if strings.Contains(out, "<!--#") {
			t.Fatalf("a directive is left: %q", out)
		}
		if len(out) > ssiOutput+len(doc)+len(other) {
			t.Fatalf("%d bytes", len(out))
		}
	})
}
