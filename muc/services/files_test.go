package services_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/services"
	"confab/xmpp"
)

// store notes what the rooms ask of it.
type store struct {
	mu      sync.Mutex
	has     []string
	begun   map[string]bool
	removed []string
	ended   []string
}

func (s *store) Begin(m string) { s.mu.Lock(); defer s.mu.Unlock(); s.begun[m] = true }
func (s *store) End(m string)   { s.mu.Lock(); defer s.mu.Unlock(); s.ended = append(s.ended, m) }
func (s *store) Has(m, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun[m] && slices.Contains(s.has, id)
}
func (s *store) Remove(_, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = append(s.removed, id)
}

func TestFileSharing(t *testing.T) {
	t.Parallel()
	roomworld.Twice(t, "testdata/files.xmpp", func(t *testing.T, webSocket bool) *roomworld.World {
		st := &store{has: []string{"f1", "f2", "f4", "f5"}, begun: map[string]bool{}}
		opt := component(services.FileSharingName, "filesharing.meet.example",
			services.NewFileSharing(services.FileSharingConfig{Domain: "filesharing.meet.example", Store: st}))
		opt.Client = func(p xmpp.Port) muc.Client {
			c := roomworld.DefaultClient(p)
			if p.JID().Local == "u4" {
				c.Features = map[string]bool{services.FileUpload: true}
				c.Claims = &xmpp.Claims{Features: c.Features}
			}
			return c
		}
		opt.WebSocket = webSocket
		w := roomworld.New(t, opt)
		t.Cleanup(func() {
			synctest.Wait()
			// The clients of the script have gone, and the meeting with them.
			if !slices.Equal(st.removed, []string{"f1"}) || len(st.ended) != 1 || len(st.begun) != 1 || !st.begun[st.ended[0]] {
				t.Errorf("removed %v, begun %v, ended %v", st.removed, st.begun, st.ended)
			}
		})
		return w
	})
}

func TestFileSharingWithVisitors(t *testing.T) {
	t.Parallel()
	roomworld.Twice(t, "testdata/visitorfiles.xmpp", func(t *testing.T, webSocket bool) *roomworld.World {
		const domain = "filesharing.meet.example"
		opt := visitors(&visitorWorld{}, nil)
		opt.Services = append(opt.Services, services.NewFileSharing(services.FileSharingConfig{Domain: domain, Max: 1}))
		build := opt.Build
		opt.Build = func(w *roomworld.World) {
			build(w)
			w.Router.Serve(domain, services.NewComponent(services.FileSharingName, domain, w.Main, w.Router))
		}
		opt.WebSocket = webSocket
		return roomworld.New(t, opt)
	})
}
