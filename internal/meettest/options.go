package meettest

import (
	"log/slog"
	"strings"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// Options say which client to be. URL and Domain are needed; the zero value of
// the rest is the July 2026 web library without microphone and camera.
type Options struct {
	URL    string // wss://127.0.0.1:8443/xmpp-websocket
	Domain string // hosts.domain: addressed for ping and disco, and logged in to unless Login is set
	Login  string // domain of the stream if it is another: guest.DOMAIN with require_host
	MUC    string // "conference." + Domain if empty
	Room   string // room name in the URL, which the server keeps as the session's room

	// CustomUsername is the name that a visitor was promised, for ?customusername=.
	CustomUsername string
	PreferVisitor  bool   // asks to look on
	Focus          string // bare address of the focus; set, it isn't asked for rooms (disableFocus)
	Server         string // domain of the server, if Domain is another: that of visitors

	Account   string // localpart; empty logs in anonymously
	Password  string
	Mechanism string // with Account: SCRAM-SHA-1 if empty, or PLAIN
	Token     string // JWT, for ?token=

	Name      string   // display name
	Features  []string // of disco#info; nil takes Features2026
	Presence  string   // further elements of every presence
	Media     *Media   // what to send; nil sends nothing
	Silent    bool     // signalling only: offers are acknowledged and never accepted
	WebSocket bool     // bridgeChannel.preferSctp=false
	Relay     string   // iceTransportPolicy relay over "udp" or "tcp"; empty allows all
	NoResume  bool     // never enable stream management

	// Through is the port of something on loopback that stands before the bridge's
	// UDP port: a network that a test makes. 0: none.
	Through int

	// Observe sees every stanza, on the client's reader: it must not wait. With
	// it, nothing is kept for Expect.
	Observe func(*xmpp.Stanza)

	Log *slog.Logger // nil discards
}

// Features2026 are those of LJM of July 2026 as a bare library, without SSRC
// rewriting. Order is by UTF-16 code unit, as the caps hash wants it.
var Features2026 = []string{
	"http://jabber.org/protocol/caps",
	jitmeet.FeatureJSONSources,
	"http://jitsi.org/receive-multiple-video-streams",
	jitmeet.FeatureREMB,
	"http://jitsi.org/source-name",
	"http://jitsi.org/start-muted-room-metadata",
	jitmeet.FeatureTCC,
	"http://jitsi.org/visitors-1",
	jitmeet.FeatureRTX,
	"urn:xmpp:jingle:1",
	"urn:xmpp:jingle:apps:dtls:0",
	"urn:xmpp:jingle:apps:rtp:1",
	jitmeet.FeatureAudio,
	jitmeet.FeatureVideo,
	jitmeet.FeatureSCTP,
	"urn:xmpp:jingle:transports:ice-udp:1",
	"urn:xmpp:rayo:client:1",
}

// Rewriting returns features with SSRC rewriting, as current apps have it.
func Rewriting(features []string) []string {
	return append(append([]string(nil), features...), jitmeet.FeatureSSRCRewriting)
}

func (o *Options) orDefault() {
	if o.MUC == "" {
		o.MUC = "conference." + o.Domain
	}
	if o.Login == "" {
		o.Login = o.Domain
	}
	if o.Features == nil {
		o.Features = Features2026
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Room = strings.ToLower(o.Room)
}

// Layer is one simulcast encoding.
type Layer struct {
	Width, Height int
	Bitrate       int // bit/s
}

// Frame is a recorded frame of VP8.
type Frame struct {
	Temporal uint8 // temporal layer
	Data     []byte
}

// Media says what a client sends.
type Media struct {
	Audio bool
	Level uint8    // of the audio, -dBov: 0 is loudest, 127 silence
	Opus  [][]byte // recorded packets of 20 ms, played round and round; nil sends synthetic ones

	Layers []Layer // encodings of the camera, smallest first; none sends no video
	FPS    int
	// Recorded has frames for each of Layers. They are played, round and round and
	// from the first on when a key frame is asked for, instead of synthetic ones: a
	// decoder can show them. The first is a key frame and no other. They are paced
	// as browsers do it.
	Recorded [][]Frame
}

// Camera is a microphone and a 720p camera with three encodings, at a frame and
// bit rate that a test machine bears. The audio is near silence.
func Camera() *Media {
	return &Media{
		Audio: true, Level: 100, FPS: 15,
		Layers: []Layer{{320, 180, 60_000}, {640, 360, 150_000}, {1280, 720, 400_000}},
	}
}

// Microphone is Camera without video.
func Microphone() *Media { return &Media{Audio: true, Level: 100} }
