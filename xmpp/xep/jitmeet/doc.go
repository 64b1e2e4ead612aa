// Package jitmeet reads and writes Jitsi's own payloads between clients and the
// focus that are neither Jingle nor colibri2: conference requests, logout, mute,
// conference properties, presence extensions and JSON messages.
//
// Rules of this package are those of xmpp/xep/jingle: tolerant in reading, exact
// in writing, no state.
package jitmeet

// Namespaces.
const (
	NS         = "http://jitsi.org/jitmeet"
	NSFocus    = "http://jitsi.org/protocol/focus"
	NSAudio    = "http://jitsi.org/jitmeet/audio"
	NSVideo    = "http://jitsi.org/jitmeet/video"
	NSDesktop  = "http://jitsi.org/jitmeet/desktop"
	NSEtherpad = "http://jitsi.org/jitmeet/etherpad"
)

// Features that clients advertise and offers depend on.
const (
	FeatureAudio         = "urn:xmpp:jingle:apps:rtp:audio"
	FeatureVideo         = "urn:xmpp:jingle:apps:rtp:video"
	FeatureSCTP          = "urn:xmpp:jingle:transports:dtls-sctp:1"
	FeatureRTX           = "urn:ietf:rfc:4588"
	FeatureTCC           = "http://jitsi.org/tcc"
	FeatureREMB          = "http://jitsi.org/remb"
	FeatureOpusRED       = "http://jitsi.org/opus-red"
	FeatureSSRCRewriting = "http://jitsi.org/ssrc-rewriting-1"
	FeatureMidDemux      = "http://jitsi.org/rtp-mid-demux"
	FeatureJSONSources   = "http://jitsi.org/json-encoded-sources"
	FeatureAudioMute     = "http://jitsi.org/protocol/audio-mute"
	FeatureJibri         = "http://jitsi.org/protocol/jibri"
	FeatureJigasi        = "http://jitsi.org/protocol/jigasi"
	FeatureTranscriber   = "http://jitsi.org/protocol/transcriber"
)
