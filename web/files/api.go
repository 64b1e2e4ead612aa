package files

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Below the prefix:
//
//	POST   /sessions/MEETING/files       multipart: metadata (JSON), then file
//	GET    /sessions/MEETING/files/ID    {"presignedUrl":…,"fileName":…}
//	DELETE /sessions/MEETING/files/ID
//	GET    /get/KEY?until=…&sig=…        the bytes; this is what presignedUrl names

const (
	metadataBytes = 4 << 10 // of the metadata part
	overheadBytes = 64 << 10
	nameBytes     = 255
	idBytes       = 64
	// slowest is the speed, in bytes per second, below which a transfer is ended.
	slowest = 32 << 10
	grace   = 30 * time.Second
)

// ServeHTTP implements http.Handler for paths below the prefix.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	// There are no cookies to protect: who has the token may come from any page.
	h.Set("Access-Control-Allow-Origin", "*")
	rest, ok := strings.CutPrefix(r.URL.Path, s.cfg.Prefix+"/")
	part := strings.Split(rest, "/")
	switch {
	case !ok:
		fail(w, http.StatusNotFound, "not found")
	case r.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Range")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	case len(part) == 2 && part[0] == "get":
		s.download(w, r, part[1])
	case len(part) == 3 && part[0] == "sessions" && part[2] == "files":
		if method(w, r, http.MethodPost) && s.allowed(w, r, part[1], true) {
			s.upload(w, r, part[1])
		}
	case len(part) == 4 && part[0] == "sessions" && part[2] == "files":
		if method(w, r, http.MethodGet, http.MethodDelete) && s.allowed(w, r, part[1], r.Method != http.MethodGet) {
			s.one(w, r, part[1], part[3])
		}
	default:
		fail(w, http.StatusNotFound, "not found")
	}
}

func method(w http.ResponseWriter, r *http.Request, allowed ...string) bool {
	for _, m := range allowed {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(append(allowed, http.MethodOptions), ", "))
	fail(w, http.StatusMethodNotAllowed, "method not allowed")
	return false
}

// allowed checks the token of a request against the meeting of its path.
func (s *Store) allowed(w http.ResponseWriter, r *http.Request, meeting string, write bool) bool {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	var g Grant
	err := errors.New("no token")
	if ok {
		g, err = s.cfg.Verify(bearer)
	}
	switch {
	case err != nil:
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, "a valid token is needed")
	case g.Meeting != meeting || g.Meeting == "" || write && !g.Write:
		fail(w, http.StatusForbidden, "the token is not for this")
	default:
		return true
	}
	return false
}

// whole is the file that find finds, unless it is still being uploaded; nil if there is
// none.
func (s *Store) whole(find func() *file) *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := find(); f != nil && f.ready {
		return f
	}
	return nil
}

// one tells where a file is, or removes it.
func (s *Store) one(w http.ResponseWriter, r *http.Request, meeting, id string) {
	if r.Method == http.MethodDelete {
		// Clients take the file out of the list first, which removes it already.
		s.Remove(meeting, id)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	f := s.whole(func() *file { return s.file(meeting, id) })
	if f == nil {
		fail(w, http.StatusNotFound, "no such file")
		return
	}
	answer(w, http.StatusOK, struct {
		URL  string `json:"presignedUrl"`
		Name string `json:"fileName"`
	}{s.cfg.Origin(r) + s.address(f, time.Now()), f.name})
}

// address is the path of a file for a while.
func (s *Store) address(f *file, now time.Time) string {
	until := strconv.FormatInt(now.Add(addressLifetime).Unix(), 10)
	return s.cfg.Prefix + "/get/" + f.key + "?until=" + until + "&sig=" + s.sign(f.key, until)
}

func (s *Store) sign(key, until string) string {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(key + "/" + until))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// harmless are the types that no browser runs anything of.
var harmless = map[string]bool{
	"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/avif": true, "image/bmp": true,
	"audio/mpeg": true, "audio/mp4": true, "audio/aac": true, "audio/ogg": true, "audio/wav": true, "audio/webm": true, "audio/flac": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
}

const anyType = "application/octet-stream"

func (s *Store) download(w http.ResponseWriter, r *http.Request, key string) {
	if !method(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	q := r.URL.Query()
	until, sig := q.Get("until"), q.Get("sig")
	end, err := strconv.ParseInt(until, 10, 64)
	if err != nil || !hmac.Equal([]byte(sig), []byte(s.sign(key, until))) || time.Now().Unix() > end {
		fail(w, http.StatusNotFound, "no such file")
		return
	}
	f := s.whole(func() *file { return s.byKey[key] })
	if f == nil {
		fail(w, http.StatusNotFound, "no such file")
		return
	}
	in, err := s.root.Open(f.disk)
	if err != nil {
		// Taken off the disk since.
		fail(w, http.StatusNotFound, "no such file")
		return
	}
	defer in.Close()
	// Else the server's own deadline would end a long download.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience(f.size)))
	h := w.Header()
	h.Set("Content-Type", f.ctype)
	h.Set("Content-Disposition", disposition(f.name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	http.ServeContent(w, r, "", time.Time{}, in)
}

func disposition(name string) string {
	if d := mime.FormatMediaType("attachment", map[string]string{"filename": name}); d != "" {
		return d
	}
	return "attachment"
}

// patience is how long a transfer of so many bytes may take.
func patience(size int64) time.Duration {
	return grace + time.Duration(size/slowest)*time.Second
}

// metadata is what the client says of its file (jitsi-meet IFileMetadata). Who
// shares it stands in the token and, for the others, in the list of the room.
type metadata struct {
	ID   string `json:"fileId"`
	Name string `json:"fileName"`
}

func parseMetadata(r io.Reader) (metadata, error) {
	b, err := io.ReadAll(io.LimitReader(r, metadataBytes+1))
	if err != nil {
		return metadata{}, err
	}
	var m metadata
	if len(b) > metadataBytes || json.Unmarshal(b, &m) != nil || !validID(m.ID) {
		return metadata{}, errRequest
	}
	return m, nil
}

// validID accepts UUIDs and what is like them.
func validID(id string) bool {
	return id != "" && len(id) <= idBytes && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// fileName is a name without anything that is no part of one.
func fileName(name string) string {
	name = strings.ToValidUTF8(name[strings.LastIndexAny(name, `/\`)+1:], "")
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1 // controls, and those that make exe.txt of txt.exe
		}
		return r
	}, name)
	for len(name) > nameBytes {
		name = strings.ToValidUTF8(name[:nameBytes], "")
	}
	if name == "" || name == "." || name == ".." {
		return "file"
	}
	return name
}

var errRequest = errors.New("metadata with a fileId and then the file are wanted")

func (s *Store) upload(w http.ResponseWriter, r *http.Request, meeting string) {
	limits := s.now()
	ctl := http.NewResponseController(w)
	switch {
	case r.ContentLength > limits.File+overheadBytes:
		fail(w, http.StatusRequestEntityTooLarge, errTooBig.Error())
		return
	case !s.rate.allow(s.cfg.Address(r), limits.Uploads, time.Now()):
		w.Header().Set("Retry-After", "60")
		fail(w, http.StatusTooManyRequests, "too many uploads")
		return
	}
	size := limits.File
	if r.ContentLength >= 0 {
		size = r.ContentLength
	}
	r.Body = http.MaxBytesReader(w, r.Body, limits.File+overheadBytes)
	deadline := time.Now().Add(patience(size))
	_ = ctl.SetReadDeadline(deadline)
	_ = ctl.SetWriteDeadline(deadline.Add(grace))
	id, err := s.receive(r, meeting)
	if err != nil {
		s.refuse(w, r, meeting, err) // with the deadline, for what may still come
		return
	}
	_ = ctl.SetReadDeadline(time.Time{}) // the connection may be used again
	answer(w, http.StatusCreated, struct {
		ID string `json:"fileId"`
	}{id})
}

// receive takes the two parts of an upload.
func (s *Store) receive(r *http.Request, meeting string) (id string, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return "", errRequest
	}
	p, err := parts.NextPart()
	if err != nil || p.FormName() != "metadata" {
		return "", errors.Join(errRequest, err)
	}
	meta, err := parseMetadata(p)
	if err != nil {
		return "", err
	}
	if p, err = parts.NextPart(); err != nil || p.FormName() != "file" {
		return "", errors.Join(errRequest, err)
	}
	if meta.Name == "" {
		meta.Name = p.FileName()
	}
	ctype, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
	if err != nil || !harmless[ctype] {
		ctype = anyType
	}
	f, err := s.begin(meeting, meta.ID, fileName(meta.Name), ctype)
	if err != nil {
		return "", err
	}
	if err := s.write(f, whole{p, parts}); err != nil {
		return "", err
	}
	return meta.ID, nil
}

// whole is the last part of a form. It ends well only if the form does, too.
type whole struct {
	p     *multipart.Part
	parts *multipart.Reader
}

func (f whole) Read(b []byte) (int, error) {
	n, err := f.p.Read(b)
	if err == io.EOF {
		if _, more := f.parts.NextPart(); more != io.EOF {
			err = errors.Join(errRequest, more)
		}
	}
	return n, err
}

// refuse answers an upload that failed.
func (s *Store) refuse(w http.ResponseWriter, r *http.Request, meeting string, err error) {
	tooBig := &http.MaxBytesError{}
	pathErr := &os.PathError{}
	switch {
	case errors.Is(err, errTooBig), errors.As(err, &tooBig):
		fail(w, http.StatusRequestEntityTooLarge, errTooBig.Error())
	case errors.Is(err, errNoMeeting):
		fail(w, http.StatusNotFound, errNoMeeting.Error())
	case errors.Is(err, errExists):
		fail(w, http.StatusConflict, errExists.Error())
	case errors.Is(err, errTooMany):
		fail(w, http.StatusForbidden, errTooMany.Error())
	case errors.Is(err, errDiskFull):
		s.cfg.Log.Warn("no room for shared files", "meeting_id", meeting)
		fail(w, http.StatusInsufficientStorage, errDiskFull.Error())
	case errors.As(err, &pathErr):
		s.cfg.Log.Error("shared file not written", "meeting_id", meeting, "err", err)
		fail(w, http.StatusInternalServerError, "internal error")
	default:
		s.cfg.Log.Debug("upload broke off", "meeting_id", meeting, "err", err)
		fail(w, http.StatusBadRequest, errRequest.Error())
	}
}

func fail(w http.ResponseWriter, status int, text string) {
	answer(w, status, struct {
		Error string `json:"error"`
	}{text})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a reader that went away has no use for the error
}
