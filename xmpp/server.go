package xmpp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Server accepts clients over WebSocket, BOSH and TCP and keeps their sessions.
type Server struct {
	cfg    Config
	router *Router
	gate   *gate
	stats  stats
	log    *slog.Logger

	ctx    context.Context // ends when the server closes
	cancel context.CancelFunc
	wg     sync.WaitGroup // streams, listeners, BOSH sessions

	mu        sync.Mutex
	streams   map[*stream]struct{}
	sessions  map[*Session]struct{}
	resumable map[string]*Session // by stream-management id
	bosh      map[string]*boshFramer
	listeners map[net.Listener]struct{}
	closing   bool
}

// NewServer returns a server for the hosts of cfg, whose stanzas go through r.
func NewServer(cfg Config, r *Router) *Server {
	s := &Server{
		cfg:       cfg.orDefault(),
		router:    r,
		streams:   map[*stream]struct{}{},
		sessions:  map[*Session]struct{}{},
		resumable: map[string]*Session{},
		bosh:      map[string]*boshFramer{},
		listeners: map[net.Listener]struct{}{},
	}
	s.log = s.cfg.Log
	s.gate = newGate(&s.cfg)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Run waits for ctx to end, then closes the server.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	return s.Close()
}

// Close tells all clients that the system shuts down (RFC 6120 §4.9.3.21), ends
// their sessions and returns when all goroutines of the server are gone.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	sessions := make([]*Session, 0, len(s.sessions))
	for se := range s.sessions {
		sessions = append(sessions, se)
	}
	streams := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		streams = append(streams, st)
	}
	var errs []error
	for ln := range s.listeners {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.mu.Unlock()
	shutdown := &StreamError{Cond: "system-shutdown"}
	for _, se := range sessions {
		se.close(shutdown)
	}
	for _, st := range streams {
		st.shutdown(shutdown)
	}
	s.cancel()
	slow := time.AfterFunc(s.cfg.ShutdownTimeout, func() {
		for _, st := range streams {
			st.fr.kill()
		}
	})
	defer slow.Stop()
	s.wg.Wait()
	return errors.Join(errs...)
}

// start counts a stream in, or refuses it while the server closes.
func (s *Server) start(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.streams[st] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) stopped(st *stream) {
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	s.wg.Done()
}

// host finds the host that a stream is opened to.
func (s *Server) host(domain string) *LoginHost {
	for i := range s.cfg.Hosts {
		if s.cfg.Hosts[i].Host.JID().Domain == domain {
			return &s.cfg.Hosts[i]
		}
	}
	return nil
}

// add makes a session known; it is refused while the server closes. One that
// somebody has ended already is not kept.
func (s *Server) add(se *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if !se.ended() {
		s.sessions[se] = struct{}{}
	}
	return true
}

// Sessions are the addresses of all sessions, those that wait to be resumed among
// them.
func (s *Server) Sessions() []JID {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]JID, 0, len(s.sessions))
	for se := range s.sessions {
		out = append(out, se.jid)
	}
	return out
}

func (s *Server) forget(se *Session, smID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, se)
	delete(s.resumable, smID)
}

// guestOf is the guest of the host whose session a previd names, or "".
func (s *Server) guestOf(previd, domain string) string {
	if previd == "" {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if se := s.resumable[previd]; se != nil && se.account.Guest && se.jid.Domain == domain {
		return se.jid.Local
	}
	return ""
}

// setResumable makes a session known by its stream-management id, unless it has
// ended.
func (s *Server) setResumable(id string, se *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !se.ended() {
		s.resumable[id] = se
	}
}

func (s *Server) resumed(id string) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resumable[id]
}

// remoteAddr is the address that limits count for.
func (s *Server) remoteAddr(r *http.Request) netip.Addr {
	if s.cfg.RemoteAddr != nil {
		return s.cfg.RemoteAddr(r).Unmap()
	}
	return hostAddr(r.RemoteAddr)
}

func (s *Server) secureRequest(r *http.Request) bool {
	if s.cfg.Secure != nil {
		return s.cfg.Secure(r)
	}
	return r.TLS != nil
}

func hostAddr(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// recovered is deferred at the root of each goroutine: a panic ends its owner,
// not the process (architecture §14).
func (s *Server) recovered(then func()) {
	if r := recover(); r != nil {
		s.stats.panics.Add(1)
		s.log.Error("panic", "component", "xmpp", "panic", r, "stack", string(debug.Stack()))
		then()
	}
}

type stats struct {
	in, out                     atomic.Uint64
	overflows, authFailures     atomic.Uint64
	logins, resumed, notResumed atomic.Uint64
	streamErrors, panics        atomic.Uint64
}

// Stats is a snapshot of a server's figures.
type Stats struct {
	// Connected counts sessions by transport, Detached those that wait to be
	// resumed, Streams all connections with those that have not logged in.
	Connected map[string]int
	Detached  int
	Streams   int

	StanzasIn, StanzasOut  uint64
	Logins, AuthFailures   uint64
	Overflows              uint64 // connections closed because the client was too slow
	Resumed, ResumeRefused uint64
	StreamErrors, Panics   uint64
}

// Stats returns the figures of now.
func (s *Server) Stats() Stats {
	out := Stats{
		Connected:  map[string]int{TransportWebSocket: 0, TransportBOSH: 0, TransportTCP: 0},
		StanzasIn:  s.stats.in.Load(),
		StanzasOut: s.stats.out.Load(), Logins: s.stats.logins.Load(), AuthFailures: s.stats.authFailures.Load(),
		Overflows: s.stats.overflows.Load(), Resumed: s.stats.resumed.Load(), ResumeRefused: s.stats.notResumed.Load(),
		StreamErrors: s.stats.streamErrors.Load(), Panics: s.stats.panics.Load(),
	}
	s.mu.Lock()
	out.Streams = len(s.streams)
	sessions := make([]*Session, 0, len(s.sessions))
	for se := range s.sessions {
		sessions = append(sessions, se)
	}
	s.mu.Unlock()
	for _, se := range sessions {
		if t := se.Transport(); t != "" {
			out.Connected[t]++
		} else {
			out.Detached++
		}
	}
	return out
}

// randomID is n random bytes in the alphabet that LJM's previd expression takes.
func randomID(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
