package focus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"confab/focus/bridges"
	"confab/xmpp"
)

// Policies of who becomes moderator (rooms.moderators). Hosts always do.
const (
	ModeratorsFirst    = "first"
	ModeratorsHosts    = "hosts"
	ModeratorsEveryone = "everyone"
	ModeratorsToken    = "token" // the MUC decides, by the claims of tokens
)

// Choices of the bridge channel (bridge.channel).
const (
	ChannelAuto      = "auto" // data channel; WebSocket URL only to a client without it
	ChannelData      = "datachannel"
	ChannelWebSocket = "websocket"
	ChannelBoth      = "both"
)

// Config is what the focus needs to know. DefaultConfig has everything but the
// addresses.
type Config struct {
	Domain  string   // main domain, meet.example
	Service string   // address for conference requests, focus.meet.example
	JID     xmpp.JID // the focus's own full address, focus@auth.meet.example/focus
	// MUC is conference.meet.example; the rooms of a tenant are on
	// conference.TENANT.meet.example.
	MUC          string
	Breakout     string   // breakout.meet.example; "" = no breakout rooms
	AVModeration string   // the component that speaks of AV moderation; "" = none
	Metadata     string   // the component that tells the rooms' metadata; "" = none
	Brewery      xmpp.JID // room of the bridges, jvbbrewery@internal.auth.meet.example; zero = none

	// Breweries of external programs; zero = none. Recorders are jibribrewery@…, those
	// that call SIP devices have one of their own, gateways are jigasibrewery@….
	Recorders, SIPRecorders, Gateways xmpp.JID

	// Visitors says where people go who are too many; the zero value has none.
	Visitors Visitors

	// RequireHost lets only hosts open rooms (require_host).
	RequireHost bool
	// IsHost reports whether the session of a full address logged in with a host
	// account. It must not wait. Nil means: with RequireHost, whoever is on Domain,
	// because guests are then on another one; else nobody.
	IsHost func(xmpp.JID) bool
	// HasToken reports whether the session of a full address came with a verified
	// token for a room. It must not wait. Nil means that nobody has one. With
	// RequireHost such a user opens the room; with it, or with Moderators being hosts,
	// it moderates the room like a host, unless Moderators is token.
	HasToken func(user, room xmpp.JID) bool
	// VerifyToken checks the token of a conference request by HTTP, which has no
	// session; nil trusts none.
	VerifyToken func(ctx context.Context, token string, room xmpp.JID) bool
	// MayAsk counts a conference request of a session by the address that it comes from,
	// and reports whether that may have another one; nil means that it may.
	MayAsk func(from xmpp.JID) bool
	// ExternalLogin reports whether people sign in at a page of their own, of which
	// config.js tells them (auth.jwt.login_url); nil means not.
	ExternalLogin func() bool
	// Moderators is one of first, hosts, everyone, token.
	Moderators string
	// Admission is asked before a room is opened; nil asks nobody. AdmissionTimeout is
	// how long it takes at most.
	Admission        Admission
	AdmissionTimeout time.Duration
	// TrustedDomains are those whose occupants are believed when they say that they
	// are a recorder, SIP gateway or transcriber.
	TrustedDomains []string

	StartTimeout     time.Duration // of a room without a joiner (focus.start_timeout)
	Linger           time.Duration // of a room that everybody has left (rooms.linger)
	LonelyTimeout    time.Duration // of the media of a lone participant (focus.lonely_timeout)
	MinParticipants  int           // before media is allocated
	MaxConferences   int           // rooms.max_rooms
	CreationsPerMin  int           // of conferences, by one session
	MaxSources       int           // SSRCs, and groups, per participant (focus.max_sources_per_user)
	MaxAudioSenders  int           // focus.max_audio_senders; 0 = no limit
	MaxVideoSenders  int           // focus.max_video_senders; 0 = no limit
	SSRCRewriting    bool          // focus.ssrc_rewriting: bridges tell clients of sources
	ICERestart       bool          // focus.ice_restart: in place
	MIDExtension     bool          // focus.mid_extension
	Codecs           []string      // focus.codecs; vp8 always
	OpusRED          bool          // focus.opus_red
	Transcription    Transcription
	SourceDelays     []SourceDelay // focus.source_delays, by size ascending
	Channel          string        // bridge.channel
	Etherpad         bool          // integrations.etherpad is set
	RandomDocument   bool          // focus.random_document_name
	SessionLifetime  time.Duration // of "I am the host", since the last use (auth.session_lifetime)
	AutoLogin        bool          // such sessions outlive the meeting (auth.auto_login)
	MaxSessions      int           // of them
	ReplyTimeout     time.Duration // of bridges and clients
	JoinTimeout      time.Duration // until a conference request is answered "not ready"
	RecordRetries    int           // other recorders tried after one that fails; negative: all (recording.retries)
	PendingTimeout   time.Duration // until a recorder that agreed must be recording (recording.pending_timeout)
	BridgeGrace      time.Duration // without a bridge before clients are told: for them it is final
	BridgeSilence    time.Duration // without a presence after which a bridge gets no new participants
	RestartInterval  time.Duration // at least, between two restarts of a participant
	RestartsPerMin   int
	Mailbox          int // events that wait, per conference
	CachedClients    int // feature lists kept by caps hash
	Version          string
	Selection        bridges.Config
	Strategy         bridges.Strategy
	RequestBodyBytes int64 // of an HTTP conference request
}

// SourceDelay delays source signalling in conferences of at least Size members.
type SourceDelay struct {
	Size  int
	Delay time.Duration
}

// DefaultConfig is the configuration without addresses, with jicofo's values.
func DefaultConfig() Config {
	return Config{
		Moderators:       ModeratorsFirst,
		StartTimeout:     15 * time.Second,
		LonelyTimeout:    20 * time.Second,
		MinParticipants:  2,
		MaxConferences:   10000,
		CreationsPerMin:  30,
		MaxSources:       20,
		SSRCRewriting:    true,
		ICERestart:       true,
		Codecs:           []string{"av1", "vp9", "vp8", "h264"},
		Channel:          ChannelAuto,
		Visitors:         Visitors{Count: 15 * time.Second},
		SessionLifetime:  24 * time.Hour,
		AutoLogin:        true,
		MaxSessions:      100000,
		ReplyTimeout:     15 * time.Second,
		JoinTimeout:      8 * time.Second,
		RecordRetries:    5,
		PendingTimeout:   90 * time.Second,
		BridgeGrace:      10 * time.Second,
		BridgeSilence:    45 * time.Second,
		RestartInterval:  5 * time.Second,
		RestartsPerMin:   5,
		Mailbox:          8192,
		CachedClients:    1000,
		Version:          "confab",
		Selection:        bridges.DefaultConfig(),
		Strategy:         bridges.Single{},
		RequestBodyBytes: 64 << 10,
	}
}

func (c *Config) check() error {
	switch {
	case c.Domain == "" || c.Service == "" || c.MUC == "":
		return errors.New("focus: no addresses")
	case c.JID.IsBare() || c.JID.Local == "":
		return fmt.Errorf("focus: %q is no full address of an account", c.JID)
	case !slices.Contains([]string{ModeratorsFirst, ModeratorsHosts, ModeratorsEveryone, ModeratorsToken}, c.Moderators):
		return fmt.Errorf("focus: unknown policy of moderators %q", c.Moderators)
	case !slices.Contains([]string{ChannelAuto, ChannelData, ChannelWebSocket, ChannelBoth}, c.Channel):
		return fmt.Errorf("focus: unknown bridge channel %q", c.Channel)
	case c.MinParticipants < 1 || c.MinParticipants > 2:
		// LJM expects a bridge session beside a peer-to-peer one.
		return fmt.Errorf("focus: min_participants is %d, not 1 or 2", c.MinParticipants)
	case c.Strategy == nil || c.Mailbox <= 0 || c.MaxSources <= 0 || c.ReplyTimeout <= 0:
		return errors.New("focus: incomplete configuration: start from DefaultConfig")
	}
	return nil
}

func (c *Config) isHost(j xmpp.JID) bool {
	if c.IsHost != nil {
		return c.IsHost(j)
	}
	return c.RequireHost && j.Domain == c.Domain && j.Local != ""
}

// hasToken reports whether a session came with a token that counts here: where
// everybody may open rooms and the first one moderates, one is of no use.
func (c *Config) hasToken(user, room xmpp.JID) bool {
	return (c.RequireHost || c.Moderators == ModeratorsHosts) && c.HasToken != nil && c.HasToken(user, room)
}

func (c *Config) externalLogin() bool { return c.ExternalLogin != nil && c.ExternalLogin() }

// delay is that of source signalling in a conference of n members.
func (c *Config) delay(n int) time.Duration {
	var d time.Duration
	for _, sd := range c.SourceDelays {
		if n >= sd.Size {
			d = sd.Delay
		}
	}
	return d
}
