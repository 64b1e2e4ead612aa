package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// doc is what the test reads of the description.
type doc struct {
	OpenAPI    string                                `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas   map[string]*schema   `json:"schemas"`
		Responses map[string]*response `json:"responses"`
	} `json:"components"`
}

type operation struct {
	ID       string               `json:"operationId"`
	Security *[]any               `json:"security"`
	Replies  map[string]*response `json:"responses"`
	Body     *struct {
		Content map[string]struct{ Schema *schema } `json:"content"`
	} `json:"requestBody"`
}

type response struct {
	Ref     string                              `json:"$ref"`
	Content map[string]struct{ Schema *schema } `json:"content"`
	Headers map[string]any                      `json:"headers"`
}

// schema is the part of JSON Schema that the description uses.
type schema struct {
	Ref        string             `json:"$ref"`
	Type       any                `json:"type"`
	Enum       []string           `json:"enum"`
	Properties map[string]*schema `json:"properties"`
	Required   []string           `json:"required"`
	Additional *bool              `json:"additionalProperties"`
	Items      *schema            `json:"items"`
	Format     string             `json:"format"`
	MinLength  int                `json:"minLength"`
	Minimum    *float64           `json:"minimum"`

	// Named, so that a word the test does not know is a mistake.
	MaxLength   int    `json:"maxLength"`
	Maximum     any    `json:"maximum"`
	Description string `json:"description"`
	Default     any    `json:"default"`
	Examples    []any  `json:"examples"`
}

// check returns what is wrong with v.
func (d *doc) check(s *schema, v any) error {
	if s.Ref != "" {
		to := d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if to == nil {
			return fmt.Errorf("no schema %s", s.Ref)
		}
		return d.check(to, v)
	}
	var types []string
	switch t := s.Type.(type) {
	case string:
		types = []string{t}
	case []any:
		for _, x := range t {
			types = append(types, x.(string))
		}
	}
	is := "null"
	switch x := v.(type) {
	case string:
		is = "string"
		if s.Enum != nil && !slices.Contains(s.Enum, x) {
			return fmt.Errorf("%q is none of %q", x, s.Enum)
		}
		if len(x) < s.MinLength {
			return fmt.Errorf("%q is too short", x)
		}
		if _, err := time.Parse(time.RFC3339, x); s.Format == "date-time" && err != nil {
			return err
		}
	case bool:
		is = "boolean"
	case float64:
		is = "integer"
		if x != float64(int64(x)) {
			is = "number"
		}
		if s.Minimum != nil && x < *s.Minimum {
			return fmt.Errorf("%v is less than %v", x, *s.Minimum)
		}
	case []any:
		is = "array"
		for i, e := range x {
			if s.Items == nil {
				return errors.New("array without items")
			}
			if err := d.check(s.Items, e); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case map[string]any:
		is = "object"
		for _, k := range s.Required {
			if _, ok := x[k]; !ok {
				return fmt.Errorf("%s is missing", k)
			}
		}
		for k, e := range x {
			p := s.Properties[k]
			if p == nil && s.Additional != nil && !*s.Additional {
				return fmt.Errorf("%s is not described", k)
			}
			if p != nil {
				if err := d.check(p, e); err != nil {
					return fmt.Errorf("%s: %w", k, err)
				}
			}
		}
	}
	if s.Enum == nil && !slices.Contains(types, is) {
		return fmt.Errorf("%s is none of %q", is, types)
	}
	return nil
}

func readDoc(t *testing.T) *doc {
	t.Helper()
	var d doc
	if err := json.Unmarshal(description, &d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("version %q", d.OpenAPI)
	}
	return &d
}

// operations are those of the description, by "GET /rooms".
func (d *doc) operations(t *testing.T) map[string]*operation {
	out := map[string]*operation{}
	for path, methods := range d.Paths {
		for method, raw := range methods {
			if method == "parameters" {
				continue
			}
			var op operation
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			out[strings.ToUpper(method)+" "+path] = &op
		}
	}
	return out
}

// bodies are requests that work.
var bodies = map[string]string{
	"PATCH /rooms/{room}":               `{"max_occupants":5}`,
	"POST /rooms/{room}/messages":       `{"message":"Hello","display_name":"The server","to":["aaaa1111"]}`,
	"PUT /rooms/{room}/password":        `{"password":"new"}`,
	"POST /rooms/{room}/password/check": `{"password":"s3cret"}`,
	"PUT /rooms/{room}/lobby":           `{"enabled":true}`,
	"PATCH /rooms/{room}/metadata":      `{"a":null,"b":{"c":[1]}}`,
	"POST /rooms/{room}/invitations":    `{"number":"+4930"}`,
	"POST /drain":                       `{"drain":true}`,
	"POST /shutdown":                    `{"graceful":true}`,
	"PUT /presets/{room}": `{"subject":"S","password":"p","max_occupants":3,"lobby":true,"moderators":["anna@meet.test"],"members":["id-7"],"all_moderators":false,"expires_at":"` +
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`,
}

// conflicts are requests that the state of things forbids.
var conflicts = map[string]func(q *query, f *fake){
	"DELETE /rooms/{room}/occupants/{nick}": func(q *query, _ *fake) { q.nick = "focus" },
	"PATCH /rooms/{room}/metadata":          func(q *query, _ *fake) { q.body = `{"moderators":[]}` },
	"PUT /rooms/{room}/lobby":               func(q *query, _ *fake) { q.room = "[acme]standup" },
	"PUT /presets/{room}":                   func(q *query, f *fake) { q.room, f.full = "other", true },
}

// query is one request.
type query struct {
	op, room, nick, number, search, body, contentType, user, password, key, addr, origin string
}

func (q query) request() *http.Request {
	method, path, _ := strings.Cut(q.op, " ")
	escape := strings.NewReplacer("[", "%5B", "]", "%5D", "/", "%2F").Replace
	path = strings.NewReplacer("{room}", escape(q.room), "{nick}", escape(q.nick), "{number}", escape(q.number)).Replace(path)
	r := httptest.NewRequest(method, Prefix+path+q.search, strings.NewReader(q.body))
	if q.body != "" || q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.user != "" {
		r.SetBasicAuth(q.user, q.password)
	}
	if q.key != "" {
		r.Header.Set("Authorization", "Bearer "+q.key)
	}
	if q.origin != "" {
		r.Header.Set("Origin", q.origin)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	r.RemoteAddr = q.addr + ":1234"
	return r
}

const testKey = "0123456789abcdef"

// ordinary is the request of op that works.
func ordinary(op string) query {
	return query{op: op, room: "standup", nick: "aaaa1111", number: "7", body: bodies[op], contentType: "application/json", key: testKey, addr: "192.0.2.1"}
}

func newAPI(f *fake, change func(*Config)) *Server {
	c := Config{Backend: f, Relay: f, Accounts: fakeAccounts{}, Keys: func() []string { return []string{"another-key-of-16", testKey} }, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	return New(c)
}

func (q query) ask(s http.Handler) *http.Response {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, q.request())
	return w.Result()
}

// provoke makes the server answer op with status.
func provoke(t *testing.T, op string, o *operation, status int) *http.Response {
	t.Helper()
	f, q := newFake(), ordinary(op)
	var change func(*Config)
	asked := 1
	switch status {
	case 200, 202, 204:
	case 201:
		q.room = "other"
	case 400:
		switch {
		case bodies[op] != "":
			q.body = `{"nonsense":`
		case op == "GET /rooms", op == "GET /turn/allocations":
			q.search = "?limit=many"
		default:
			q.room, q.number = "[", "-1"
		}
	case 401:
		q.key = ""
	case 403:
		q.key, q.user, q.password = "", "bot", "pw"
	case 404:
		q.room, q.number = "nobody", "8"
	case 409:
		if conflicts[op] == nil {
			t.Fatalf("%s: no way to a conflict is known", op)
		}
		conflicts[op](&q, f)
	case 413:
		q.body = `{"x":"` + strings.Repeat("x", DefaultBody) + `"}`
	case 415:
		q.contentType = "text/plain"
	case 429:
		change, asked = func(c *Config) { c.Rate, c.Burst = 0.001, 1 }, 2
	case 500:
		f.err = errors.New("a fault with a secret in it")
	case 503:
		q.key, q.user, q.password = "", "broken", "pw"
	default:
		t.Fatalf("%s: no way to %d is known", op, status)
	}
	s := newAPI(f, change)
	var resp *http.Response
	for range asked {
		resp = q.ask(s)
	}
	return resp
}

// The description and the server are the same: each operation with each status in it
// is answered so, in the form that it says, and there is no route that it lacks.
func TestDescription(t *testing.T) {
	t.Parallel()
	d := readDoc(t)
	ops := d.operations(t)
	for _, rt := range routes {
		if ops[rt.method+" "+rt.path] == nil {
			t.Errorf("%s %s is not described", rt.method, rt.path)
		}
	}
	ids := map[string]bool{}
	for name, op := range ops {
		if ids[op.ID] || op.ID == "" {
			t.Errorf("%s: id %q is empty or not its own", name, op.ID)
		}
		ids[op.ID] = true
		if (op.Body != nil) != (bodies[name] != "") {
			t.Errorf("%s: has the test a body for it?", name)
		}
		if op.Body != nil {
			var v any
			if err := json.Unmarshal([]byte(bodies[name]), &v); err != nil {
				t.Fatal(err)
			}
			if err := d.check(op.Body.Content["application/json"].Schema, v); err != nil {
				t.Errorf("%s: body: %v", name, err)
			}
		}
		for code, r := range op.Replies {
			t.Run(strings.ReplaceAll(name, "/", "_")+" "+code, func(t *testing.T) {
				t.Parallel()
				status, err := strconv.Atoi(code)
				if err != nil {
					t.Fatal(err)
				}
				if r.Ref != "" {
					if r = d.Components.Responses[strings.TrimPrefix(r.Ref, "#/components/responses/")]; r == nil {
						t.Fatal("no such response")
					}
				}
				got := provoke(t, name, op, status)
				body, _ := io.ReadAll(got.Body)
				if got.StatusCode != status {
					t.Fatalf("%d %s", got.StatusCode, body)
				}
				if strings.Contains(string(body), "secret in it") {
					t.Errorf("a fault is told to the world: %s", body)
				}
				for h := range r.Headers {
					if got.Header.Get(h) == "" {
						t.Errorf("header %s is missing", h)
					}
				}
				if got.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Error("other sites may read it")
				}
				if len(r.Content) == 0 {
					if len(body) > 0 {
						t.Errorf("body %q", body)
					}
					return
				}
				c, ok := r.Content[got.Header.Get("Content-Type")]
				if !ok {
					t.Fatalf("type %q", got.Header.Get("Content-Type"))
				}
				var v any
				if err := json.Unmarshal(body, &v); err != nil {
					t.Fatal(err)
				}
				if err := d.check(c.Schema, v); err != nil {
					t.Errorf("%v\n%s", err, body)
				}
			})
		}
	}
	for path, methods := range d.Paths {
		var declared []struct {
			Name, In string
			Required bool
		}
		if raw := methods["parameters"]; raw != nil {
			if err := json.Unmarshal(raw, &declared); err != nil {
				t.Fatal(err)
			}
		}
		want := strings.Count(path, "{")
		for _, p := range declared {
			if p.In == "path" && p.Required && strings.Contains(path, "{"+p.Name+"}") {
				want--
			}
		}
		if want != 0 {
			t.Errorf("%s: its parameters are not those of the path", path)
		}
	}
	for name := range ops {
		method, path, _ := strings.Cut(name, " ")
		if path != "/openapi.json" && !slices.ContainsFunc(routes, func(r route) bool { return r.method == method && r.path == path }) {
			t.Errorf("%s is described, but not there", name)
		}
	}
}

// Fields that the description does not know are refused.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	for op, body := range bodies {
		if op == "PATCH /rooms/{room}/metadata" { // any key is fine
			continue
		}
		q := ordinary(op)
		q.body = strings.Replace(body, "{", `{"unknown":1,`, 1)
		got := q.ask(newAPI(newFake(), nil))
		b, _ := io.ReadAll(got.Body)
		if got.StatusCode != 400 || !strings.Contains(string(b), "Unknown field") {
			t.Errorf("%s: %d %s", op, got.StatusCode, b)
		}
	}
}
