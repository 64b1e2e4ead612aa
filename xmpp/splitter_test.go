package xmpp

import (
	"strings"
	"testing"
)

// pieces feeds input in chunks of n bytes.
func pieces(input string, n, limit int) (out []string, err error) {
	var s splitter
	for len(input) > 0 {
		n := min(n, len(input))
		s.feed([]byte(input[:n]))
		input = input[n:]
		for {
			p, err := s.next(limit)
			if err != nil {
				return out, err
			}
			if p.kind == pieceNone {
				break
			}
			out = append(out, p.text)
		}
	}
	return out, nil
}

func TestSplitter(t *testing.T) {
	t.Parallel()
	const in = "<?xml version='1.0'?>\n<stream:stream to='a>b'> \n<a/><b x='/>'><c><![CDATA[</b>]]>]</c></b>\t<d ></d ></stream:stream>"
	want := []string{"<stream:stream to='a>b'>", "<a/>", "<b x='/>'><c><![CDATA[</b>]]>]</c></b>", "<d ></d >", "</stream:stream>"}
	for n := 1; n <= len(in); n++ {
		got, err := pieces(in, n, 1000)
		if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("in chunks of %d: %q, %v", n, got, err)
		}
	}
	if _, err := pieces(in, 7, 30); err != ErrTooBig {
		t.Errorf("limit: %v", err)
	}
}

// However the input is cut, the pieces are the same; and what the scanner takes
// as one element is one piece.
func FuzzSplitter(f *testing.F) {
	f.Add("<stream:stream xmlns='jabber:client'><iq type='get' id='1'><x a=\"'>\"/></iq></stream:stream>", 3)
	f.Add("<?xml version='1.0'?><s><a><![CDATA[<]]></a>", 1)
	f.Add("<s><message><body>a &amp; b</body></message> <!-- -->", 5)
	f.Fuzz(func(t *testing.T, in string, n int) {
		whole, err := pieces(in, max(1, len(in)), 4096)
		cut, err2 := pieces(in, max(1, n&0xff), 4096)
		if len(in) < 4096 && (err != err2 || strings.Join(whole, "\x00") != strings.Join(cut, "\x00")) {
			t.Fatalf("whole %q %v\ncut by %d %q %v", whole, err, n, cut, err2)
		}
		if _, err := ParseElement(in, Limits{Bytes: 4000}, Scope{}); err == nil && strings.HasPrefix(in, "<") && strings.HasSuffix(in, ">") {
			got, err := pieces("<s>"+in, len(in)+3, 4096)
			if err != nil || len(got) != 2 || got[1] != in {
				t.Fatalf("%q is split into %q, %v", in, got, err)
			}
		}
	})
}
