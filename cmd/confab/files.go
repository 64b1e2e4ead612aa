package main

// Shared files: where they are kept, and the tokens with which people get at them.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco"
	"confab/extdisco/token"
	"confab/internal/guard"
	"confab/muc"
	"confab/muc/services"
	"confab/web"
	"confab/web/files"
	"confab/xmpp"
)

// What clients ask for by XEP-0215 (room-services.md §7.4).
const (
	shortLivedToken = "short-lived-token"
	fileService     = services.FileSharingName
)

// openFiles makes the store, empty, and what signs for it.
func (s *server) openFiles() error {
	if s.cfg.Integrations.Files == "" {
		return nil
	}
	key, err := token.Open(string(s.secrets.Token))
	if err != nil {
		return fmt.Errorf("token_key of %s: %w", secretsFile, err)
	}
	s.tokens = newTokens(s, key)
	if s.cfg.Integrations.Files != config.Builtin {
		return nil
	}
	s.files, err = files.Open(files.Config{
		Dir: filepath.Join(s.cfg.DataDir, "files"), Prefix: web.FilesPrefix, Limits: fileLimits(s.cfg),
		Verify: func(t string) (files.Grant, error) {
			c, err := key.Verify(t, fileService, time.Now())
			return files.Grant{Meeting: c.MeetingID, Write: c.Context.Features[services.FileUpload]}, err
		},
		Origin:  web.Origin,
		Address: func(r *http.Request) string { return s.counted(web.ClientAddr(r)) },
		Log:     s.logs.of("web"),
	})
	if err != nil {
		return err
	}
	s.opened(s.files)
	return nil
}

func fileLimits(c config.Config) files.Limits {
	r := c.Rooms
	return files.Limits{File: int64(r.FileMaxSize), PerMeeting: r.FilesMax, Disk: int64(r.FilesDiskMax), Uploads: c.Limits.UploadsPerIP}
}

// fileSharing is the list of files in the rooms.
func (s *server) fileSharing() services.FileSharingConfig {
	c := services.FileSharingConfig{Domain: s.names.component("filesharing"), Max: s.cfg.Rooms.FilesMax}
	if s.files != nil {
		c.Store = s.files
	}
	return c
}

// filesHandler is the store, if it is ours, and the public key of its tokens.
func (s *server) filesHandler() http.Handler {
	mux := http.NewServeMux()
	set := s.tokens.key.JWKS()
	mux.HandleFunc("GET "+web.FilesPrefix+"/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(set) // a reader that went away has no use for the error
	})
	if s.files != nil {
		mux.Handle(web.FilesPrefix+"/", s.files)
	}
	return mux
}

// tokens makes short-lived tokens of people in meetings. Rooms say who is one, and
// signing takes a while: both are waited for by goroutines of its own.
type tokens struct {
	s     *server
	key   *token.Key
	guard *guard.Guard
	queue chan tokenRequest
}

type tokenRequest struct {
	user   xmpp.JID
	answer func(extdisco.Issued, error)
}

const (
	tokenLifetime = 30 * time.Second // clients ask again 10 s before it is over
	tokenQueue    = 256
	tokenWorkers  = 2
	tokenPatience = 5 * time.Second // with a room
)

func newTokens(s *server, key *token.Key) *tokens {
	return &tokens{s: s, key: key, guard: s.guards.of("tokens"), queue: make(chan tokenRequest, tokenQueue)}
}

// Issue implements extdisco.Issuer.
func (t *tokens) Issue(user xmpp.JID, answer func(extdisco.Issued, error)) error {
	select {
	case t.queue <- tokenRequest{user, answer}:
		return nil
	default:
		return xmpp.ResourceConstraint("")
	}
}

// Run makes tokens until ctx ends.
func (t *tokens) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range tokenWorkers {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case r := <-t.queue:
					t.serve(ctx, r)
				}
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// serve answers one request, whatever becomes of it.
func (t *tokens) serve(ctx context.Context, r tokenRequest) {
	var issued extdisco.Issued
	err := error(xmpp.InternalServerError(""))
	t.guard.Do(func() { issued, err = t.issue(ctx, r.user) })
	t.guard.Do(func() { r.answer(issued, err) })
}

func (t *tokens) issue(ctx context.Context, user xmpp.JID) (extdisco.Issued, error) {
	now := time.Now()
	claims, err := t.claims(ctx, user, now)
	if err != nil {
		return extdisco.Issued{}, err
	}
	signed, err := t.key.Sign(claims)
	if err != nil {
		t.s.logs.of("web").Error("token not signed", "jid", user.String(), "err", err)
		return extdisco.Issued{}, xmpp.InternalServerError("")
	}
	return extdisco.Issued{Username: "token", Password: signed, Transport: "https", Port: 443, Expires: now.Add(tokenLifetime)}, nil
}

// claims says who the user is in the meeting that its session is about.
func (t *tokens) claims(ctx context.Context, user xmpp.JID, now time.Time) (token.Claims, error) {
	room, ok := t.s.rooms.RoomOf(user)
	if !ok {
		return token.Claims{}, xmpp.NotAllowed("")
	}
	ctx, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	var c token.Claims
	inside := false
	err := t.s.rooms.Do(ctx, room, func(r *muc.Room) {
		if in, seat := r.Find(user); seat != nil {
			inside = true
			c = t.of(r, in, seat, now)
		}
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return token.Claims{}, xmpp.ResourceConstraint("")
	case err != nil || !inside:
		return token.Claims{}, xmpp.NotAllowed("")
	}
	if se := t.s.session(user); se != nil && se.Account().Claims != nil {
		t.verified(&c, se.Account().Claims)
	}
	return c, nil
}

// of are the claims of an occupant; it runs on the meeting's goroutine. Who has gone
// to a breakout room may read what the main room shares, no more.
func (t *tokens) of(r, in *muc.Room, seat *muc.Seat, now time.Time) token.Claims {
	o := seat.Occ()
	c := token.Claims{
		Issuer: t.s.cfg.Domain, Audience: fileService, Subject: r.Tenant(),
		NotBefore: now.Unix(), Expires: now.Add(tokenLifetime).Unix(),
		Room: r.JID().Local, MeetingID: r.MeetingID(), UserRegion: seat.Client.Region,
	}
	if c.Subject == "" {
		c.Subject = t.s.cfg.Domain
	}
	name, _ := o.Name()
	c.Context.User = token.User{ID: seat.Real.String(), Name: name, Email: o.Email(), Nick: o.Nick}
	c.Context.Features = map[string]bool{}
	for k, v := range seat.Client.Features {
		c.Context.Features[k] = v
	}
	c.Context.Features[services.FileUpload] = in == r && o.Allowed(services.FileUpload)
	return c
}

// verified puts what the user's own token says over what it shows.
func (t *tokens) verified(c *token.Claims, v *xmpp.Claims) {
	c.Context.Group, c.CustomerID = v.Group, v.Group
	if v.User["id"] != "" {
		c.Context.User.ID = v.User["id"]
	}
	if v.User["name"] != "" {
		c.Context.User.Name = v.User["name"]
	}
	if v.User["email"] != "" {
		c.Context.User.Email = v.User["email"]
	}
}
