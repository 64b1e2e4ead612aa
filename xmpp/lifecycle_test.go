package xmpp

import (
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
)

// endFramer is a connection that notes how it is ended.
type endFramer struct {
	wsFramer
	mu  sync.Mutex
	err *StreamError
}

func (f *endFramer) put([]byte) error { return nil }
func (f *endFramer) flush() error     { return nil }
func (f *endFramer) finish(e *StreamError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = e
}
func (f *endFramer) kill()                     {}
func (f *endFramer) read(int) (inbound, error) { return inbound{}, io.EOF }

func lifecycleServer() (*Server, *Host) {
	r := NewRouter(slog.New(slog.DiscardHandler))
	h := NewHost(r, "meet.test")
	return NewServer(Config{Hosts: []LoginHost{{Host: h}}}, r), h
}

func (s *Server) testStream(fr framer) *stream {
	return &stream{srv: s, fr: fr, ctx: s.ctx, host: &s.cfg.Hosts[0], account: Account{Name: "u"}}
}

// A session that is ended between its making and its writer's start, as a server
// that shuts down does it, tells its client and lets nobody wait for the writer.
func TestEndBeforeWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, _ := lifecycleServer()
		fr := &endFramer{}
		st := srv.testStream(fr)
		s, err := st.newSession("r")
		if err != nil {
			t.Fatal(err)
		}
		s.close(&StreamError{Cond: "system-shutdown"})
		st.startWriter(s, s.attach())
		st.writing.Wait()
		if fr.err == nil || fr.err.Cond != "system-shutdown" {
			t.Errorf("ended with %v", fr.err)
		}
	})
}

// Connections that bind the same address at once end each other's sessions, and
// leave nothing behind.
func TestConcurrentTakeovers(t *testing.T) {
	t.Parallel()
	srv, h := lifecycleServer()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				st := srv.testStream(&endFramer{})
				s, err := st.newSession("same")
				if err != nil {
					continue // the others were faster three times
				}
				st.startWriter(s, s.attach())
				s.close(nil)
				st.writing.Wait()
			}
		})
	}
	wg.Wait()
	if n := len(h.Resources("u")); n != 0 || len(srv.sessions) != 0 {
		t.Errorf("%d resources, %d sessions left", n, len(srv.sessions))
	}
	if _, bound := srv.router.Port(MustJID("u@meet.test/same")); bound {
		t.Error("the address is still bound")
	}
}

// A session that has ended is not kept for a resumption.
func TestEnableAfterTheEnd(t *testing.T) {
	t.Parallel()
	srv, _ := lifecycleServer()
	s, err := srv.testStream(&endFramer{}).newSession("r")
	if err != nil {
		t.Fatal(err)
	}
	s.close(nil)
	_ = s.enable(true)
	if len(srv.resumable) != 0 {
		t.Error("kept")
	}
}
