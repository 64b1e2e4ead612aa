package api

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Config is what the API needs to know.
type Config struct {
	Backend  Backend // nil: no meetings, there is nothing but the relay
	Relay    Relay
	Accounts Accounts        // nil: no logins of hosts
	Keys     func() []string // "admin.api_keys" as of now
	// Token reports whether a token lets its bearer into a room; nil accepts none.
	// Only /room-info asks.
	Token func(ctx context.Context, token, room string) bool

	Rate    float64        // requests per second of one address, and as many at once as
	Burst   int            // "limits.requests_per_ip"; 0 no limit
	Exempt  []netip.Prefix // "limits.exempt": addresses without a rate, besides loopback
	Tries   int            // wrong passwords of a room, per minute and address ("limits.password_tries"); 0 no limit
	Body    int64          // bytes of a request's body; 0 is DefaultBody
	Timeout time.Duration  // of one request; 0 is DefaultTimeout
	Log     *slog.Logger   // nil is slog.Default
}

// Defaults of a Config.
const (
	DefaultBody    = 128 << 10 // room metadata of 64 KiB, escaped
	DefaultTimeout = 10 * time.Second
)

// Prefix is where the API is.
const Prefix = "/_/api/v1"

//go:embed openapi.json
var description []byte

// Server answers the API and the paths of Prosody's modules.
type Server struct {
	cfg    Config
	log    *slog.Logger
	mux    *http.ServeMux
	origin *http.CrossOriginProtection

	requests buckets // by address
	tries    tries   // of room passwords, by address and room
}

// route is one operation of the description.
type route struct {
	method, path string
	handle       func(*Server, *http.Request) (status int, body any, err error)
}

var routes = []route{
	{"GET", "/rooms", (*Server).listRooms},
	{"GET", "/rooms/{room}", (*Server).getRoom},
	{"PATCH", "/rooms/{room}", (*Server).patchRoom},
	{"DELETE", "/rooms/{room}", (*Server).endRoom},
	{"GET", "/rooms/{room}/occupants", (*Server).listOccupants},
	{"DELETE", "/rooms/{room}/occupants/{nick}", (*Server).kick},
	{"POST", "/rooms/{room}/messages", (*Server).say},
	{"PUT", "/rooms/{room}/password", (*Server).setPassword},
	{"DELETE", "/rooms/{room}/password", (*Server).removePassword},
	{"POST", "/rooms/{room}/password/check", (*Server).checkPassword},
	{"PUT", "/rooms/{room}/lobby", (*Server).setLobby},
	{"GET", "/rooms/{room}/metadata", (*Server).getMetadata},
	{"PATCH", "/rooms/{room}/metadata", (*Server).patchMetadata},
	{"POST", "/rooms/{room}/invitations", (*Server).invite},
	{"GET", "/presets", (*Server).listPresets},
	{"GET", "/presets/{room}", (*Server).getPreset},
	{"PUT", "/presets/{room}", (*Server).putPreset},
	{"DELETE", "/presets/{room}", (*Server).deletePreset},
	{"GET", "/sessions", (*Server).countSessions},
	{"GET", "/turn-credentials", (*Server).turnCredentials},
	{"GET", "/turn/allocations", (*Server).listAllocations},
	{"DELETE", "/turn/allocations/{number}", (*Server).endAllocation},
	{"GET", "/node", (*Server).getNode},
	{"POST", "/drain", (*Server).setDrain},
	{"POST", "/shutdown", (*Server).shutdown},
}

// relayPaths begin those that want a Relay alone.
const relayPaths = "/turn/allocations"

// New makes the API.
func New(cfg Config) *Server {
	if cfg.Body <= 0 {
		cfg.Body = DefaultBody
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Keys == nil {
		cfg.Keys = func() []string { return nil }
	}
	s := &Server{cfg: cfg, log: cfg.Log, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection()}
	if s.log == nil {
		s.log = slog.Default()
	}
	methods := map[string][]string{}
	for _, rt := range routes {
		if cfg.Backend == nil && !strings.HasPrefix(rt.path, relayPaths) {
			continue
		}
		methods[rt.path] = append(methods[rt.path], rt.method)
		s.mux.HandleFunc(rt.method+" "+Prefix+rt.path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, rt) })
	}
	for path, list := range methods {
		allow := strings.Join(list, ", ")
		s.mux.HandleFunc(Prefix+path, func(w http.ResponseWriter, _ *http.Request) {
			p := fail(http.StatusMethodNotAllowed, "")
			p.allow = allow
			p.write(w)
		})
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(http.StatusNotFound, "There is no such path.").write(w)
	})
	return s
}

// ServeHTTP serves everything below Prefix. Nothing is looked at before it is known
// who asks.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !s.allow(r) {
		tooMany(1, "Too many requests from this address.").write(w)
		return
	}
	if r.URL.Path == Prefix+"/openapi.json" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(description)
		return
	}
	// A browser sends the login of a host along with requests of any site.
	if err := s.origin.Check(r); err != nil {
		fail(http.StatusForbidden, "Other sites may not use the API.").write(w)
		return
	}
	who, p := s.authenticate(r)
	if p != nil {
		s.refused(r, p)
		p.write(w)
		return
	}
	r, done := s.bounded(w, r.WithContext(context.WithValue(r.Context(), keyWho, who)))
	defer done()
	s.mux.ServeHTTP(w, r)
}

type ctxKey int

const keyWho ctxKey = 0

// serve answers one request of somebody who may ask.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt route) {
	status, body, err := rt.handle(s, r)
	if err != nil {
		p := problemOf(err)
		status = p.Status
		if p.cause != nil {
			s.log.Error("api request", "method", rt.method, "route", rt.path, "err", p.cause)
		}
		p.write(w)
	}
	if rt.method != http.MethodGet {
		s.log.Info("api call", "by", r.Context().Value(keyWho), "method", rt.method, "route", rt.path, "room", r.PathValue("room"), "status", status)
	}
	switch {
	case err != nil:
	case body == nil:
		w.WriteHeader(status)
	default:
		writeJSON(w, status, "application/json", body)
	}
}

func (s *Server) refused(r *http.Request, p *problem) {
	if p.cause != nil {
		s.log.Error("api login not checked", "err", p.cause)
		return
	}
	if r.Header.Get("Authorization") != "" {
		s.log.Info("api request refused", "addr", addrOf(r).String(), "status", p.Status)
	}
}

// decode reads the JSON object of a request.
func decode(r *http.Request, v any) error {
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail(http.StatusBadRequest, "There is something after the JSON object.")
	}
	return nil
}

func badJSON(err error) *problem {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && t.Field != "" {
		return fail(http.StatusBadRequest, "Field "+t.Field+" is of the wrong type.")
	}
	if _, field, ok := strings.Cut(err.Error(), "json: unknown field "); ok {
		return fail(http.StatusBadRequest, "Unknown field "+field+".")
	}
	return fail(http.StatusBadRequest, "The body is not the JSON object that is expected.")
}

func readJSON(r *http.Request) ([]byte, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, fail(http.StatusUnsupportedMediaType, "The body must be application/json.")
	}
	body, err := io.ReadAll(r.Body)
	if _, big := errors.AsType[*http.MaxBytesError](err); big {
		return nil, fail(http.StatusRequestEntityTooLarge, "")
	}
	if err != nil {
		return nil, fail(http.StatusBadRequest, "The body could not be read.")
	}
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return nil, fail(http.StatusBadRequest, "The body is not a JSON object.")
	}
	return body, nil
}
