package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"time"
)

// Errors of a Backend. Others are faults of ours: their text goes into the log.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("not possible now")
	ErrInvalid     = errors.New("invalid")
	ErrUnavailable = errors.New("not available now")
	ErrNoGateway   = errors.New("no gateway") // to telephones
	ErrNoBrewery   = errors.New("no room of gateways")
)

// Backend is the server behind the API. Rooms are named as people write them, room or
// [tenant]room, or by address. A method may wait, no longer than ctx.
type Backend interface {
	// Rooms lists up to limit rooms in the order of their names, those after a name,
	// and whether there are more. An empty tenant is all of them.
	Rooms(ctx context.Context, tenant, after string, limit int) (list []Room, more bool, err error)
	Room(ctx context.Context, room string) (Room, error)
	Occupants(ctx context.Context, room string) ([]Occupant, error)

	Kick(ctx context.Context, room, nick, reason string) error
	End(ctx context.Context, room string, end End) error
	Say(ctx context.Context, room string, m Message) (sent int, err error)
	SetPassword(ctx context.Context, room, password string) error
	CheckPassword(ctx context.Context, room, password string) (bool, error)
	SetLobby(ctx context.Context, room string, on bool) error
	SetMaxOccupants(ctx context.Context, room string, n int) error
	Metadata(ctx context.Context, room string) (map[string]json.RawMessage, error)
	SetMetadata(ctx context.Context, room string, change map[string]json.RawMessage) error
	// Dial invites a telephone by a SIP gateway.
	Dial(ctx context.Context, room, number string) error

	Presets(ctx context.Context) ([]Preset, error)
	Preset(ctx context.Context, room string) (Preset, error)
	SetPreset(ctx context.Context, p Preset) (stored Preset, made bool, err error)
	DeletePreset(ctx context.Context, room string) error

	Sessions() int
	Node() Node
	// Drain has other servers preferred for new meetings, or not any more.
	Drain(on bool)
	// Shutdown begins the end of the server: gracefully it takes no new meetings and
	// ends with the last that goes on, else at once.
	Shutdown(graceful bool)
	// TURN are the STUN and TURN servers, with credentials for name.
	TURN(name string) []ICEServer
}

// Relay is the TURN server of this process.
type Relay interface {
	// Allocations lists up to limit allocations by number, those after one, and whether
	// there are more.
	Allocations(after uint64, limit int) (list []Allocation, more bool)
	// EndAllocation reports whether there was one.
	EndAllocation(number uint64) bool
}

// Accounts checks the passwords of hosts.
type Accounts interface {
	// Login reports whether the account is a host's. The error is ErrWrongPassword,
	// ErrTries, or a fault.
	Login(ctx context.Context, from netip.Addr, user, password string) (host bool, err error)
}

// Errors of Accounts.
var (
	ErrWrongPassword = errors.New("wrong password")
	ErrTries         = errors.New("too many wrong passwords")
)

// Room is a meeting that is going on.
type Room struct {
	Name              string     `json:"name"` // room or [tenant]room
	Tenant            string     `json:"tenant,omitempty"`
	JID               string     `json:"jid"`
	MeetingID         string     `json:"meeting_id"`
	Subject           string     `json:"subject"`
	Participants      int        `json:"participants"` // people
	Occupants         int        `json:"occupants"`    // and services, such as recorders and the focus
	MaxOccupants      int        `json:"max_occupants"`
	PasswordProtected bool       `json:"password_protected"`
	Lobby             bool       `json:"lobby"`
	CreatedAt         *time.Time `json:"created_at"`

	Internal string `json:"-"` // the address as Prosody's modules write it: [tenant]room@conference.DOMAIN
	Leaked   bool   `json:"-"` // all its people are gone without having left
}

// Occupant is somebody in a room.
type Occupant struct {
	Nick        string   `json:"nick"`
	JID         string   `json:"jid"`
	DisplayName string   `json:"display_name"`
	Email       string   `json:"email,omitempty"`
	Role        string   `json:"role"`
	Affiliation string   `json:"affiliation"`
	Person      bool     `json:"person"`
	Connections []string `json:"connections"`        // addresses of its sessions
	Breakout    string   `json:"breakout,omitempty"` // address of the breakout room that it is in

	Focus bool   `json:"-"`
	Phone string `json:"-"` // what a SIP gateway shows as its name
	Stock string `json:"-"` // JID as Prosody's modules write it
}

// End is how a meeting is ended.
type End struct {
	Reason string
	Silent bool // clients come back without a word
}

// Message is a line in the chat that comes from the server.
type Message struct {
	Text        string
	DisplayName string
	Nicks       []string // to whom; nil is everybody, unless Connections are given
	Connections []string // to the sessions with these addresses; others than occupants get nothing
	ByAddress   bool     // Connections count
}

// Preset is what is settled about a room before it exists.
type Preset struct {
	Room          string    `json:"room"`
	Subject       string    `json:"subject,omitempty"`
	Password      string    `json:"password,omitempty"`
	MaxOccupants  int       `json:"max_occupants,omitempty"`
	Lobby         bool      `json:"lobby,omitempty"`
	LobbyDisabled bool      `json:"lobby_disabled,omitempty"`
	Moderators    []string  `json:"moderators,omitempty"`
	Members       []string  `json:"members,omitempty"`
	AllModerators bool      `json:"all_moderators,omitempty"`
	TokensOnly    bool      `json:"tokens_only,omitempty"` // no guests without a token
	HideNames     bool      `json:"hide_names,omitempty"`  // guests see nobody's identity
	Muted         bool      `json:"muted,omitempty"`       // moderation of audio, video and screens from the start
	ExpiresAt     time.Time `json:"expires_at"`
}

// ICEServer is one STUN or TURN server, in the form of XEP-0215 that Prosody's module
// writes.
type ICEServer struct {
	Type       string `json:"type"`
	Host       string `json:"host"`
	Port       int    `json:"port"`
	Transport  string `json:"transport,omitempty"`
	Username   string `json:"username,omitempty"`
	Password   string `json:"password,omitempty"`
	Restricted bool   `json:"restricted,omitempty"`
	Expires    int64  `json:"expires,omitempty"` // seconds since 1970
}
