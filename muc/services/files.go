package services

import (
	"encoding/json"
	"strings"

	"confab/muc"
	"confab/xmpp"
)

// FileSharingName is the service, its identity and the type of its messages; it is
// also what the tokens for the store are for.
const FileSharingName = "file-sharing"

// FileUpload is the feature of a token that lets somebody share and remove files.
const FileUpload = "file-upload"

// FileStore holds the bytes of the files of a meeting. It must not wait.
type FileStore interface {
	Begin(meeting string)
	End(meeting string)
	Has(meeting, id string) bool
	Remove(meeting, id string)
}

// FileSharingConfig is what the list of shared files needs to know.
type FileSharingConfig struct {
	Domain string    // of the component: filesharing.DOMAIN
	Store  FileStore // nil: the bytes are kept elsewhere, by who reads our tokens
	Max    int       // files of one meeting that the Store does not bound (rooms.files_max); 0 is 100
}

func (c FileSharingConfig) max() int {
	if c.Max > 0 {
		return c.Max
	}
	return 100
}

// FileSharing is the list of what people share in a meeting (room-services.md §6.7).
type FileSharing struct {
	cfg   FileSharingConfig
	from  xmpp.JID
	files map[string]sharedFile
	size  int // of all in a message
}

// sharedFile is an entry of the list (LJM IFileMetadata). The client says the first
// half; who it is, the server.
type sharedFile struct {
	ID        string  `json:"fileId"`
	Name      string  `json:"fileName"`
	Size      float64 `json:"fileSize"`
	Type      string  `json:"fileType"`
	Timestamp float64 `json:"timestamp"`

	AuthorID   string `json:"authorParticipantId"`
	AuthorJID  string `json:"authorParticipantJid"`
	AuthorName string `json:"authorParticipantName"`
	Conference string `json:"conferenceFullName"`

	size int // in a message
}

const (
	fileEntryBytes = 4 << 10   // of an entry as the client sends it
	fileListBytes  = 256 << 10 // of all, as joiners get them
	fileIDBytes    = 64
)

// NewFileSharing makes the service of main rooms; it fits muc.Config.Services.
func NewFileSharing(cfg FileSharingConfig) func(*muc.Room) muc.RoomService {
	return func(*muc.Room) muc.RoomService {
		return &FileSharing{cfg: cfg, from: xmpp.JID{Domain: cfg.Domain}, files: map[string]sharedFile{}}
	}
}

// Name implements muc.RoomService.
func (*FileSharing) Name() string { return FileSharingName }

// fileMessage is what clients get: about one file, one that is gone, or all.
type fileMessage struct {
	Type   string                `json:"type"`
	Event  string                `json:"event"`
	File   *sharedFile           `json:"file,omitempty"`
	FileID string                `json:"fileId,omitempty"`
	Files  map[string]sharedFile `json:"files,omitempty"`
}

func (f *FileSharing) stanza(m fileMessage) *xmpp.Stanza {
	m.Type = FileSharingName
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and finite numbers
	}
	return xmpp.NewStanza(xmpp.Message, "", "", f.from, xmpp.JID{}, jsonMessage("", b))
}

// Joined implements muc.Joined.
func (f *FileSharing) Joined(r *muc.Room, o *muc.Occupant) {
	if o.Admin() {
		return
	}
	if f.cfg.Store != nil {
		f.cfg.Store.Begin(r.MeetingID())
	}
	f.Visited(r, o)
}

// Visited implements muc.Visited: visitors get the list, too.
func (f *FileSharing) Visited(r *muc.Room, o *muc.Occupant) {
	if len(f.files) > 0 {
		r.Tell(o, f.stanza(fileMessage{Event: "list", Files: f.files}))
	}
}

// Command implements muc.Command.
func (f *FileSharing) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	el := s.Child(nsJitsi, FileSharingName)
	switch {
	case el == nil:
		return xmpp.BadRequest("")
	case r.Main() != r, !o.Allowed(FileUpload):
		return xmpp.Forbidden("")
	}
	switch el.Get("type") {
	case "add":
		return f.add(r, o, s.From, el.Text)
	case "remove":
		return f.remove(r, o, el.Get("fileId"))
	}
	return xmpp.BadRequest("")
}

// add puts a file on the list. Its bytes are there already, if they are with us.
func (f *FileSharing) add(r *muc.Room, o *muc.Occupant, real xmpp.JID, text string) error {
	file, ok := parseFile(text)
	if !ok {
		return xmpp.BadRequest("")
	}
	_, known := f.files[file.ID]
	switch {
	case known:
		return xmpp.Conflict("")
	case f.cfg.Store == nil && len(f.files) >= f.cfg.max():
		return xmpp.ResourceConstraint("too many files")
	case f.cfg.Store != nil && !f.cfg.Store.Has(r.MeetingID(), file.ID):
		return xmpp.ItemNotFound("")
	}
	file.AuthorID, file.AuthorJID, file.Conference = o.Nick, real.String(), r.JID().String()
	if file.AuthorName, _ = o.Name(); file.AuthorName == "" {
		file.AuthorName = "anonymous"
	}
	file.size = wireBytes(file)
	if f.size+file.size > fileListBytes {
		return xmpp.ResourceConstraint("too many files")
	}
	f.files[file.ID] = file
	f.size += file.size
	f.tell(r, o, fileMessage{Event: "add", File: &file})
	return nil
}

// remove takes a file off the list, and its bytes off the store: whoever took it
// off could fail to ask for that. All who may share may remove (mod_filesharing).
func (f *FileSharing) remove(r *muc.Room, o *muc.Occupant, id string) error {
	file, known := f.files[id]
	if !known {
		return xmpp.ItemNotFound("")
	}
	delete(f.files, id)
	f.size -= file.size
	if f.cfg.Store != nil {
		f.cfg.Store.Remove(r.MeetingID(), id)
	}
	f.tell(r, o, fileMessage{Event: "remove", FileID: id})
	return nil
}

// tell says it to all but who did it, who knows.
func (f *FileSharing) tell(r *muc.Room, by *muc.Occupant, m fileMessage) {
	r.BroadcastMeeting(f.stanza(m), func(o *muc.Occupant) bool { return o != by && !o.Admin() })
}

// Ended implements muc.Ended.
func (f *FileSharing) Ended(r *muc.Room) {
	if f.cfg.Store != nil {
		f.cfg.Store.End(r.MeetingID())
	}
}

// parseFile reads an entry. What it says beside the five fields, such as that it
// was still being uploaded, is dropped.
func parseFile(text string) (file sharedFile, ok bool) {
	var in struct {
		ID        string  `json:"fileId"`
		Name      string  `json:"fileName"`
		Size      float64 `json:"fileSize"`
		Type      string  `json:"fileType"`
		Timestamp float64 `json:"timestamp"`
	}
	if len(text) > fileEntryBytes || json.Unmarshal([]byte(text), &in) != nil {
		return file, false
	}
	if in.ID == "" || len(in.ID) > fileIDBytes || in.ID == "__proto__" || strings.ContainsFunc(in.ID, control) || in.Size < 0 {
		return file, false
	}
	return sharedFile{ID: in.ID, Name: in.Name, Size: in.Size, Type: in.Type, Timestamp: in.Timestamp}, true
}

func control(r rune) bool { return r < ' ' || r == 0x7f }
