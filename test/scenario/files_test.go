package scenario

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"confab/internal/meettest"
	"confab/xmpp"
)

// fileWorld does what LJM's getShortTermCredentials and jitsi-meet's file-sharing do.
type fileWorld struct {
	*world
	http *http.Client
}

func newFileWorld(t *testing.T, config string) fileWorld {
	return fileWorld{newWorld(t, config), &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // test server
	}}}
}

func (w fileWorld) token(c *meettest.Client) (string, error) {
	asked := time.Now()
	answer, err := c.IQ(w.ctx, "get", w.Domain, `<credentials xmlns="urn:xmpp:extdisco:2"><service host="file-sharing" type="short-lived-token"/></credentials>`)
	if err != nil {
		return "", err
	}
	el := answer.Child("urn:xmpp:extdisco:2", "credentials").Child("", "service")
	expires, err := time.Parse(time.RFC3339, el.Get("expires"))
	if err != nil || el.Get("type") != "short-lived-token" || el.Get("host") != "file-sharing" || el.Get("username") != "token" ||
		el.Get("transport") != "https" || el.Get("port") != "443" || el.Get("restricted") != "1" || time.Until(expires) > 31*time.Second || expires.Sub(asked) < 10*time.Second {
		w.t.Fatalf("%v %v", el, err)
	}
	return el.Get("password"), nil
}

// meeting is the id that the token is for; the app has it from the room's form.
func (w fileWorld) meeting(c *meettest.Client) string {
	w.t.Helper()
	answer, err := c.IQ(w.ctx, "get", c.RoomJID(w.room).String(), `<query xmlns="http://jabber.org/protocol/disco#info"/>`)
	w.must(err)
	for _, f := range answer.Payload().Child("jabber:x:data", "x").Kids {
		if f.Get("var") == "muc#roominfo_meetingId" {
			return f.Child("", "value").Text
		}
	}
	w.t.Fatal("no meeting id")
	return ""
}

func (w fileWorld) do(verb, url, token, ctype string, body io.Reader) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, verb, url, body)
	w.must(err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if ctype != "" {
		req.Header.Set("Content-Type", ctype)
	}
	resp, err := w.http.Do(req)
	w.must(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	w.must(err)
	return resp.StatusCode, string(b)
}

func (w fileWorld) upload(meeting, token, id, content string) int {
	w.t.Helper()
	var b bytes.Buffer
	f := multipart.NewWriter(&b)
	err := f.WriteField("metadata", fmt.Sprintf(`{"fileId":%q,"fileName":"plan.txt","fileSize":%d,"fileType":"txt","timestamp":1}`, id, len(content)))
	p, err2 := f.CreateFormFile("file", "plan.txt")
	w.must(errors.Join(err, err2))
	_, err = io.WriteString(p, content)
	w.must(errors.Join(err, f.Close()))
	status, _ := w.do("POST", w.api(meeting), token, f.FormDataContentType(), &b)
	return status
}

func (w fileWorld) api(meeting string) string {
	return w.URL + "/_/files/sessions/" + meeting + "/files"
}

func (w fileWorld) kept() (names []string) {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.Dir, "files"))
	w.must(err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func refused(err error, cond string) bool {
	var se *xmpp.StanzaError
	return errors.As(err, &se) && se.Cond == cond
}

// A file goes from one to the other, nobody else gets at it, and it ends with the
// meeting, also when the server dies.
func TestFileSharing(t *testing.T) {
	w := newFileWorld(t, "")
	a := w.join("Ann", nil)
	w.must(a.Until(w.ctx, "to moderate", a.Moderator))
	_, err := a.Expect(w.ctx, "leave to share files", func(s *xmpp.Stanza) bool { // without it the app has no button
		el := s.Child("http://jitsi.org/jitmeet", "permissions")
		return el != nil && strings.Contains(el.String(), `name="file-upload" val="true"`)
	})
	w.must(err)
	b := w.join("Bea", nil)
	c := w.Dial(w.ctx, "Cem", func(o *meettest.Options) { o.Room = w.room })
	stranger := w.Join(w.ctx, "Dan", "elsewhere", nil)

	meeting := w.meeting(a)
	ann, err := w.token(a)
	w.must(err)
	bea, err := w.token(b)
	w.must(err)
	dan, err := w.token(stranger)
	w.must(err)
	if _, err := w.token(c); !refused(err, xmpp.CondNotAllowed) {
		t.Fatalf("who is not in the room got a token: %v", err)
	}
	content := strings.Repeat("all of it ", 200_000) // 2 MB: more than other requests may have
	for name, try := range map[string]struct {
		token, meeting string
		want           int
	}{
		"nobody": {"", meeting, 401}, "a participant": {bea, meeting, 403}, "a moderator of another room": {dan, meeting, 403},
		"for another meeting": {ann, w.meeting2(), 403}, "forged": {ann[:len(ann)-8] + "AAAAAAAA", meeting, 401},
	} {
		// No more than a refused client can get rid of before the connection ends.
		if got := w.upload(try.meeting, try.token, "5c1f6b1c", "x"); got != try.want {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := w.upload(meeting, ann, "5c1f6b1c", content); got != 201 {
		t.Fatal(got)
	}
	component := a.Component("file-sharing")
	w.must(a.Send(xmpp.Message, "", "", component, `<file-sharing xmlns="http://jitsi.org/jitmeet" type="add">{"fileId":"5c1f6b1c","fileName":"plan.txt","fileSize":2000000,"fileType":"txt","timestamp":1}</file-sharing>`))
	got, err := b.Expect(w.ctx, "the shared file", func(s *xmpp.Stanza) bool {
		return s.From.Domain == component && s.Has("http://jitsi.org/jitmeet", "json-message")
	})
	w.must(err)
	if text := got.Child("http://jitsi.org/jitmeet", "json-message").Text; !strings.Contains(text, `"event":"add"`) ||
		!strings.Contains(text, `"authorParticipantName":"Ann"`) || !strings.Contains(text, `"authorParticipantId":"`+a.Nick()+`"`) {
		t.Fatal(text)
	}

	status, body := w.do("GET", w.api(meeting)+"/5c1f6b1c", bea, "", nil)
	var found struct{ PresignedURL, FileName string }
	if err := json.Unmarshal([]byte(body), &found); err != nil || status != 200 || found.FileName != "plan.txt" || !strings.HasPrefix(found.PresignedURL, w.URL+"/") {
		t.Fatal(status, body, err)
	}
	if status, body := w.do("GET", found.PresignedURL, "", "", nil); status != 200 || body != content {
		t.Fatal(status, len(body))
	}
	if status, _ := w.do("GET", w.api(meeting)+"/5c1f6b1c", dan, "", nil); status != 403 {
		t.Error("somebody of another room:", status)
	}
	if status, _ := w.do("DELETE", w.api(meeting)+"/5c1f6b1c", bea, "", nil); status != 403 {
		t.Error("a participant removes:", status)
	}
	if status, body := w.do("GET", w.URL+"/_/files/jwks.json", "", "", nil); status != 200 || !strings.Contains(body, `"RS256"`) {
		t.Error(status, body)
	}
	if n := len(w.kept()); n != 1 {
		t.Fatal(w.kept())
	}

	// After a crash the rooms are gone, and their files.
	w.Kill()
	again := meettest.StartServer(t, meettest.ServerOptions{Like: w.Server})
	if names := w.kept(); len(names) != 0 {
		t.Error("after a crash:", names)
	}
	if status, _ := w.do("GET", found.PresignedURL, "", "", nil); status != 404 {
		t.Error("after a crash:", status)
	}
	w.Server = again

	// Without one they go when the last person has left.
	e := w.join("Eve", nil)
	w.must(e.Until(w.ctx, "to moderate", e.Moderator))
	meeting = w.meeting(e)
	eve, err := w.token(e)
	w.must(err)
	if got := w.upload(meeting, eve, "f1", "x"); got != 201 {
		t.Fatal(got)
	}
	if got := w.upload(meeting, ann, "f2", "x"); got != 403 {
		t.Error("a token of the meeting before:", got)
	}
	if n := len(w.kept()); n != 1 {
		t.Fatal(w.kept())
	}
	w.must(e.Leave(w.ctx))
	gone := time.NewTicker(10 * time.Millisecond)
	defer gone.Stop()
	for len(w.kept()) > 0 {
		select {
		case <-gone.C:
		case <-w.ctx.Done():
			t.Fatal("left behind:", w.kept())
		}
	}
	if got := w.upload(meeting, eve, "f3", "x"); got != 404 {
		t.Error("upload to a meeting that ended:", got)
	}
}

// meeting2 is an id that no meeting has.
func (fileWorld) meeting2() string { return "00000000-0000-4000-8000-000000000000" }

func TestFileSharingOff(t *testing.T) {
	w := newFileWorld(t, "[integrations]\nfiles = ''\n")
	a := w.join("Ann", nil)
	if a.Component("file-sharing") != "" {
		t.Error("announced")
	}
	if _, err := w.token(a); !refused(err, xmpp.CondItemNotFound) {
		t.Error(err)
	}
	if status, _ := w.do("GET", w.URL+"/_/files/jwks.json", "", "", nil); status != 404 {
		t.Error(status)
	}
	if _, err := os.Stat(filepath.Join(w.Dir, "files")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
