package meettest

import (
	"fmt"
	"strings"
)

// Fault is something that a stock client does not survive.
type Fault struct {
	Rule   string // what the client needs
	Stanza string // what it got, shortened
}

func (f *Fault) Error() string {
	return fmt.Sprintf("a stock client would not survive this: %s: %.600s", f.Rule, f.Stanza)
}

// prefixed finds an element with a namespace prefix other than stream: LJM's
// selectors and strophe's handlers compare tag names and literal xmlns
// attributes, so a prefixed element is invisible to them.
func prefixed(raw string) (tag string, found bool) {
	for i := 0; ; {
		j := strings.IndexByte(raw[i:], '<')
		if j < 0 {
			return "", false
		}
		i += j + 1
		end := strings.IndexAny(raw[i:], " \t\r\n/>")
		if end <= 0 {
			continue // an end tag
		}
		if name := raw[i : i+end]; strings.Contains(name, ":") && !strings.HasPrefix(name, "stream:") {
			return name, true
		}
	}
}
