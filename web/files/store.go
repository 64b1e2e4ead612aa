package files

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// Limits bounds what is kept.
type Limits struct {
	File       int64 // bytes of one file (rooms.file_max_size)
	PerMeeting int   // files of one meeting (rooms.files_max)
	Disk       int64 // bytes of all files (rooms.files_disk_max)
	Uploads    int   // per minute of one address (limits.uploads_per_ip); 0 no limit
}

// Grant is what a token allows.
type Grant struct {
	Meeting string
	Write   bool // upload and remove
}

// Config is what a store needs to know.
type Config struct {
	Dir    string // is emptied
	Prefix string // path below which the handler is served, such as /_/files
	Limits Limits
	// Verify reads the bearer token of a request.
	Verify func(token string) (Grant, error)
	// Origin is where a request came in, as its client sees it: https://meet.example.
	Origin func(*http.Request) string
	// Address is what uploads are counted by; "" is not counted.
	Address func(*http.Request) string
	Log     *slog.Logger
}

// Store is the files of all meetings.
type Store struct {
	cfg    Config
	root   *os.Root
	secret []byte // signs download addresses
	rate   rates

	mu       sync.Mutex
	limits   Limits
	meetings map[string]*meeting // live ones
	byKey    map[string]*file
	used     int64 // bytes on disk, or about to be
	next     uint64
	trash    []*file
	wake     chan struct{} // the trash is not empty
}

type meeting struct {
	id    string
	files map[string]*file // by the client's id
}

// file is complete when ready; before, it is being written.
type file struct {
	meeting *meeting
	id      string
	key     string // of its download address
	disk    string // name in the directory
	name    string
	ctype   string
	size    int64 // reserved, and written if ready
	ready   bool
}

// Errors of the store.
var (
	errNoMeeting = errors.New("no such meeting")
	errExists    = errors.New("a file with this id is there")
	errTooMany   = errors.New("the meeting has as many files as it may")
	errTooBig    = errors.New("the file is too big")
	errDiskFull  = errors.New("no room for more files")
)

// Open makes an empty store. Run and Close are the caller's to call.
func Open(cfg Config) (_ *Store, err error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("shared files: %w", err)
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("shared files: %w", err)
	}
	s := &Store{
		cfg: cfg, root: root, limits: cfg.Limits,
		secret:   make([]byte, 32),
		meetings: map[string]*meeting{},
		byKey:    map[string]*file{},
		wake:     make(chan struct{}, 1),
	}
	rand.Read(s.secret) // never fails (crypto/rand)
	if err := s.empty(); err != nil {
		return nil, errors.Join(fmt.Errorf("shared files: %w", err), root.Close())
	}
	return s, nil
}

// empty removes what meetings of an earlier process left.
func (s *Store) empty() error {
	dir, err := s.root.Open(".")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err = errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, name := range names {
		err = errors.Join(err, s.root.RemoveAll(name))
	}
	return err
}

// Run takes files off the disk until ctx ends: rooms say what is to go, and must
// not wait for a disk.
func (s *Store) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
			s.sweep()
		}
	}
}

func (s *Store) sweep() {
	s.mu.Lock()
	trash := s.trash
	s.trash = nil
	s.mu.Unlock()
	for _, f := range trash {
		if err := s.root.Remove(f.disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.cfg.Log.Error("shared file not removed", "meeting_id", f.meeting.id, "file", f.disk, "err", err)
		}
		s.mu.Lock()
		s.used -= f.size
		s.mu.Unlock()
	}
}

// Close removes all files. No request may be under way.
func (s *Store) Close() error {
	err := errors.Join(s.empty(), s.root.Close())
	if err != nil {
		return fmt.Errorf("shared files: %w", err)
	}
	return nil
}

// SetLimits changes the limits for what comes from now on.
func (s *Store) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

// Begin makes a meeting known; only to known ones files can be added.
func (s *Store) Begin(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meetings[id] == nil {
		s.meetings[id] = &meeting{id: id, files: map[string]*file{}}
	}
}

// End forgets a meeting and all its files. An upload under way fails.
func (s *Store) End(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.meetings[id]
	if m == nil {
		return
	}
	delete(s.meetings, id)
	for _, f := range m.files {
		s.forget(f)
	}
}

// Has reports whether a meeting has a file, complete.
func (s *Store) Has(meeting, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.file(meeting, id)
	return f != nil && f.ready
}

// Remove forgets a file.
func (s *Store) Remove(meeting, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.file(meeting, id); f != nil {
		s.forget(f)
	}
}

// Stats counts what is there.
func (s *Store) Stats() (files int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byKey), s.used
}

func (s *Store) file(meeting, id string) *file {
	if m := s.meetings[meeting]; m != nil {
		return m.files[id]
	}
	return nil
}

// forget takes f out of the index; its bytes go when Run comes to it, or, if it is
// still being written, when the writer notices.
func (s *Store) forget(f *file) {
	delete(f.meeting.files, f.id)
	delete(s.byKey, f.key)
	if f.ready {
		s.discard(f)
	}
}

func (s *Store) discard(f *file) {
	s.trash = append(s.trash, f)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// begin takes a place in a meeting for a file that is about to come.
func (s *Store) begin(meetingID, id, name, ctype string) (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.meetings[meetingID]
	switch {
	case m == nil:
		return nil, errNoMeeting
	case m.files[id] != nil:
		return nil, errExists
	case len(m.files) >= s.limits.PerMeeting:
		return nil, errTooMany
	}
	var key [16]byte
	rand.Read(key[:]) // never fails
	s.next++
	f := &file{meeting: m, id: id, key: hex.EncodeToString(key[:]), disk: strconv.FormatUint(s.next, 36), name: name, ctype: ctype}
	m.files[id] = f
	s.byKey[f.key] = f
	return f, nil
}

// write takes the bytes of f from r. If it fails, nothing of f is left.
func (s *Store) write(f *file, r io.Reader) (err error) {
	out, err := s.root.OpenFile(f.disk, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = io.Copy(&meter{s: s, f: f, w: out}, r)
		err = errors.Join(err, out.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.file(f.meeting.id, f.id) != f {
		err = errNoMeeting // it was removed, or the meeting ended, meanwhile
	}
	if err != nil {
		if s.file(f.meeting.id, f.id) == f {
			s.forget(f)
		}
		s.discard(f)
		return err
	}
	f.ready = true
	return nil
}

// meter reserves bytes before it writes them.
type meter struct {
	s *Store
	f *file
	w io.Writer
}

func (m *meter) Write(p []byte) (int, error) {
	if err := m.s.reserve(m.f, int64(len(p))); err != nil {
		return 0, err
	}
	return m.w.Write(p)
}

func (s *Store) reserve(f *file, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case f.size+n > s.limits.File:
		return errTooBig
	case s.used+n > s.limits.Disk:
		return errDiskFull
	case s.meetings[f.meeting.id] != f.meeting:
		return errNoMeeting // no use in reading the rest
	}
	f.size += n
	s.used += n
	return nil
}

// now are the present limits.
func (s *Store) now() Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limits
}

// Addresses of downloads are good for as long as a click may take.
const addressLifetime = 5 * time.Minute
