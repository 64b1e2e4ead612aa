package scenario

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"confab/xmpp"
)

// The document of a room: clients learn its name from the focus, its place from
// config.js, and find it behind the front.
func TestEtherpad(t *testing.T) {
	pad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "pad at ", r.URL) }))
	t.Cleanup(pad.Close)
	w := newWorld(t, "[integrations]\netherpad = '"+pad.URL+"'\n")
	a := w.join("Ann", nil)
	b := w.join("Bea", nil)
	_, err := b.Expect(w.ctx, "the document's name", func(s *xmpp.Stanza) bool {
		el := s.Child("http://jitsi.org/jitmeet/etherpad", "etherpad")
		return s.Kind == xmpp.Presence && s.From.Resource == "focus" && el != nil && el.Text == w.room
	})
	w.must(err)
	w.must(a.Ping(w.ctx))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // test server
	for path, want := range map[string]string{
		"/config.js": `"etherpad_base": "` + w.URL + `/etherpad/p/"`, "/etherpad/p/" + w.room + "?showChat=false": "pad at /p/" + w.room + "?showChat=false",
	} {
		resp, err := client.Get(w.URL + path)
		w.must(err)
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		w.must(err)
		if !strings.Contains(string(text), want) {
			t.Errorf("%s: %s", path, text)
		}
	}
}
