package xmpp

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const joinPresence = `<presence to="standup@conference.meet.example/6f2c91d4" xmlns="jabber:client">` +
	`<x xmlns="http://jabber.org/protocol/muc"/><stats-id>Kylie-1Xz</stats-id>` +
	`<c hash="sha-1" node="https://jitsi.org/jitsi-meet" ver="abc=" xmlns="http://jabber.org/protocol/caps"/>` +
	`<SourceInfo>{"6f2c91d4-a0":{"muted":true}}</SourceInfo>` +
	`<nick xmlns="http://jabber.org/protocol/nick">Al &amp; &#xE9;</nick></presence>`

func TestParseStanza(t *testing.T) {
	s, err := ParseStanza(joinPresence, Limits{}, Scope{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Kind != Presence || s.To.String() != "standup@conference.meet.example/6f2c91d4" {
		t.Fatalf("envelope: %+v", s)
	}
	if !s.Has("http://jabber.org/protocol/muc", "x") || !s.Has(NSClient, "stats-id") || s.Has(NSClient, "c") {
		t.Fatal("children are not indexed by namespace and name")
	}
	if got := s.Child("http://jabber.org/protocol/nick", "nick").Text; got != "Al & é" {
		t.Fatalf("nick = %q", got)
	}
	if got := s.Raw(NSClient, "stats-id"); got != "<stats-id>Kylie-1Xz</stats-id>" {
		t.Fatalf("raw child = %q", got)
	}
	from := MustJID("a@meet.example/r")
	relayed := s.With(from, JID{}).WithoutChild("http://jabber.org/protocol/muc", "x").WithChild(`<x xmlns="http://jabber.org/protocol/muc#user"/>`)
	want := `<presence xmlns="jabber:client" from="a@meet.example/r" to="b@meet.example/r2">` + s.Inner[strings.Index(s.Inner, "<stats-id>"):] +
		`<x xmlns="http://jabber.org/protocol/muc#user"/></presence>`
	if got := string(relayed.Append(nil, MustJID("b@meet.example/r2"), true)); got != want {
		t.Fatalf("relayed:\n%s\nwant:\n%s", got, want)
	}
	if s.Has("http://jabber.org/protocol/muc#user", "x") || !s.Has("http://jabber.org/protocol/muc", "x") {
		t.Fatal("the original changed")
	}
}

func manyBindings(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, ` xmlns:p%d="x"`, i)
	}
	return b.String()
}

func manyAttributes(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` %s:a%d=""`, prefix, i)
	}
	return b.String()
}

func TestPrefixesAreRewritten(t *testing.T) {
	in := `<c:message xmlns:c="jabber:client" xmlns:d="urn:d" to="r@x.example" type="groupchat">` +
		`<c:body>hi</c:body><d:p d:q="1">a<d:b>b</d:b>c</d:p><e xmlns=""/></c:message>`
	s, err := ParseStanza(in, Limits{}, Scope{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Type != TypeGroupchat || !s.Has(NSClient, "body") || !s.Has("urn:d", "p") {
		t.Fatalf("got %s", s)
	}
	if strings.Contains(s.Inner, "<d:") || strings.Contains(s.Inner, "<c:") {
		t.Fatalf("prefixes survive: %s", s.Inner)
	}
	if !strings.Contains(s.Inner, ">a<b>b</b>c</p>") {
		t.Fatalf("mixed content lost its order: %s", s.Inner)
	}
}

// A tree is written in the namespaces that it was read in.
func TestElementsKeepTheirNamespace(t *testing.T) {
	const in = `<a xmlns="urn:a"><b xmlns=""><c/></b><d xmlns="urn:d"/><e/></a>`
	el, err := ParseElement(in, Limits{}, Scope{Default: NSClient})
	if err != nil {
		t.Fatal(err)
	}
	if got := el.String(); got != in {
		t.Errorf("got  %s\nwant %s", got, in)
	}
}

func TestScannerRefuses(t *testing.T) {
	for in, want := range map[string]error{
		`<message xmlns="jabber:client">`:                                               ErrNotWellFormed,
		`<message xmlns="jabber:client"></iq>`:                                          ErrNotWellFormed,
		`<message xmlns="jabber:client"><a></message></a>`:                              ErrNotWellFormed,
		`<message xmlns="jabber:client"/><iq/>`:                                         ErrNotWellFormed,
		`<message xmlns="jabber:client" a="1" a="2"/>`:                                  ErrNotWellFormed,
		`<message xmlns="jabber:client" a='<'/>`:                                        ErrNotWellFormed,
		`<message xmlns="jabber:client" a="1"b="2"/>`:                                   ErrNotWellFormed,
		`<message xmlns="jabber:client">` + "\x01" + `</message>`:                       ErrNotWellFormed,
		`<message xmlns="jabber:client">` + "\xff" + `</message>`:                       ErrNotWellFormed,
		`<message xmlns="jabber:client">&#0;</message>`:                                 ErrRestrictedXML,
		`<message xmlns="jabber:client">&foo;</message>`:                                ErrRestrictedXML,
		`<message xmlns="jabber:client"><!-- c --></message>`:                           ErrRestrictedXML,
		`<!DOCTYPE a [<!ENTITY b "c">]><message xmlns="jabber:client"/>`:                ErrRestrictedXML,
		`<?xml version="1.0"?><message xmlns="jabber:client"/>`:                         ErrRestrictedXML,
		`<message xmlns="jabber:client"><u:a/></message>`:                               ErrNamespace,
		`<message xmlns="jabber:client"><a xmlns:b="urn:b"/><b:c/></message>`:           ErrNamespace,
		`<message xmlns="jabber:client"><a xmlns:xmlns="urn:b"/></message>`:             ErrNamespace,
		`<message xmlns="jabber:client">` + strings.Repeat("<a>", 70) + `</message>`:    ErrTooBig,
		`<message xmlns="jabber:client">` + strings.Repeat("<a/>", 5000) + `</message>`: ErrTooBig,
		`<message xmlns="jabber:client">` + strings.Repeat("x", 600<<10) + `</message>`: ErrTooBig,
		// Many prefixes in force, over several elements.
		`<message xmlns="jabber:client"><a ` + manyBindings(0, 200) + `><b ` + manyBindings(200, 400) + `/></a></message>`: ErrTooBig,
		// A long namespace that the rewritten form would repeat for each element, or for
		// each attribute.
		`<message xmlns="jabber:client" xmlns:p="` + strings.Repeat("x", 100<<10) + `">` + strings.Repeat("<p:a/>", 1000) + `</message>`: ErrTooBig,
		`<message xmlns="jabber:client" xmlns:p="` + strings.Repeat("x", 100<<10) + `"><a` + manyAttributes("p", 200) + `/></message>`:   ErrTooBig,
		`<message xmlns="jabber:client">]]></message>`:                                     ErrNotWellFormed,
		`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>`:           errNotAStanza,
		`<message xmlns="jabber:client" xmlns:p="urn:1" xmlns:q="urn:1" p:a="1" q:a="2"/>`: ErrNotWellFormed,
	} {
		if _, err := ParseStanza(in, Limits{}, Scope{}); !errors.Is(err, want) {
			t.Errorf("%.80s: %v, want %v", in, err, want)
		}
	}
	var je *JIDError
	if _, err := ParseStanza(`<iq xmlns="jabber:client" id="7" type="get" to="a@/b"/>`, Limits{}, Scope{}); !errors.As(err, &je) || je.ID != "7" {
		t.Errorf("malformed to: %v", err)
	}
}

// Every line that real clients sent parses, and survives a round trip.
func TestCapturedStanzas(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.xmpp")
	if len(files) == 0 {
		t.Fatal("no captured stanzas in testdata")
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			s, err := ParseStanza(line, Limits{}, Scope{Default: NSClient})
			if err != nil {
				if !IsStanza(err) {
					continue
				}
				t.Fatalf("%s: %v: %s", f, err, line)
			}
			again, err := ParseStanza(s.String(), Limits{}, Scope{})
			if err != nil || again.String() != s.String() {
				t.Fatalf("%s: round trip: %v: %s", f, err, line)
			}
		}
	}
}

// What the scanner accepts, encoding/xml accepts with the same tree.
func FuzzScan(f *testing.F) {
	f.Add(joinPresence)
	f.Add(`<iq xmlns="jabber:client" type="get" id="1"><a xml:lang="de" b='&lt;&#x41;'><![CDATA[<x>]]>t</a></iq>`)
	f.Add(`<c:message xmlns:c="jabber:client" xmlns:d="urn:d"><c:body>hi</c:body><d:p d:q="1"/></c:message>`)
	f.Fuzz(func(t *testing.T, in string) {
		el, err := ParseElement(in, Limits{}, Scope{})
		if err == nil {
			ref, refErr := reference(in)
			if refErr != nil {
				t.Fatalf("encoding/xml refuses what we accept: %v: %q", refErr, in)
			}
			if got := el.String(); got != ref.String() {
				t.Fatalf("trees differ:\n%s\n%s", got, ref)
			}
		}
		s, err := ParseStanza(in, Limits{}, Scope{})
		if err != nil {
			return
		}
		s.Elements()
		if _, err := ParseStanza(s.String(), Limits{Bytes: 1 << 24}, Scope{}); err != nil {
			t.Fatalf("what we relay is refused: %v: %s", err, s)
		}
	})
}

func reference(in string) (*Element, error) {
	d := xml.NewDecoder(strings.NewReader(in))
	var root *Element
	var open []*Element
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return root, nil
		}
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			el := &Element{Name: tok.Name.Local, NS: tok.Name.Space}
			for _, a := range tok.Attr {
				if a.Name.Space == "xmlns" || a.Name == (xml.Name{Local: "xmlns"}) {
					continue
				}
				el.Attr = append(el.Attr, Attr{a.Name.Space, a.Name.Local, a.Value})
			}
			if len(open) > 0 {
				open[len(open)-1].Kids = append(open[len(open)-1].Kids, el)
			} else {
				root = el
			}
			open = append(open, el)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].Text += string(tok)
			}
		}
	}
}

func BenchmarkParsePresence(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(joinPresence)))
	for b.Loop() {
		if _, err := ParseStanza(joinPresence, DefaultLimits, Scope{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendShared(b *testing.B) {
	s, _ := ParseStanza(joinPresence, Limits{}, Scope{})
	to := MustJID("6f2c91d4-0c1e-4f7b-9d58-2b9a6f1e7c33@meet.example/Qx7a1LbK")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = s.Append(buf[:0], to, true)
	}
}
