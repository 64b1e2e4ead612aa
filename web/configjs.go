package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Site is what the generated config.js says about this server (deployment.md
// §4). It becomes data, `var config = {…};` with sorted keys: the mobile apps
// evaluate it without window, document or location (deployment.md §0 #4).
type Site struct {
	RequireHost        bool // "require_host": guests on guest.DOMAIN, logins on DOMAIN
	Guests             bool // "auth.guests"
	BOSH               bool // "xmpp.bosh"
	RequireDisplayName bool // "rooms.require_display_name"
	PreferSCTP         bool // false with "bridge.channel" = "websocket"
	ConferenceRequest  bool // HTTP conference requests before XMPP (cluster mode)
	IceRestart         bool // the bridge restarts ICE in place
	NoPolls            bool // "rooms.polls" is off
	NoReactions        bool // "rooms.reactions" is off
	Whiteboard         bool // a relay answers at /socket.io/
	FileSharing        FileSharing
	VisitorQueue       bool   // visitors wait for a meeting to go live at /visitor/websocket
	Etherpad           bool   // an Etherpad answers below /etherpad/
	Transcription      bool   // a service makes subtitles
	HiddenDomain       string // recorders' domain, "" without one
	TokenAuthURL       string // "auth.jwt.login_url": where people sign in, "" on our own pages
	STUNPort           int    // our own STUN server for peer-to-peer; 0 is none, never a third party's

	Config          map[string]any // "[web.config]", merged over config.js
	InterfaceConfig map[string]any // "[web.interface_config]", merged over interface_config.js
}

// FileSharing is where clients put the files that they share.
type FileSharing struct {
	On  bool
	URL string // of a store elsewhere; "" is ours, below /_/files
	Max int64  // bytes of one file
}

// DefaultSite returns the defaults of deployment.md §15 for config.js.
func DefaultSite() Site {
	return Site{Guests: true, BOSH: true, PreferSCTP: true, STUNPort: 3478}
}

// origin is where a request came in, as its client sees it.
type origin struct {
	scheme string // "https" or "http"
	host   string // validated Host header, with port
	place
}

func (o origin) url(path string) string   { return o.scheme + "://" + o.host + o.subdir() + path }
func (o origin) wsURL(path string) string { return "ws" + strings.TrimPrefix(o.url(path), "http") }

func (o origin) subdir() string {
	if o.tenant == "" || o.byHost {
		return "/"
	}
	return "/" + o.tenant + "/"
}

func (o origin) subdomain() string {
	if o.tenant == "" {
		return ""
	}
	return o.tenant + "."
}

// normalTenant is the tenant as it stands in hosts.muc and in prefix=: lower
// case, dots as underscores (deployment.md §3.2).
func normalTenant(segment string) string {
	return strings.ReplaceAll(strings.ToLower(segment), ".", "_")
}

type object = map[string]any

// values are the keys of config.js for one origin, overrides merged in.
func (s *Site) values(domain string, o origin) object {
	hosts := object{
		"domain": domain,
		"muc":    "conference." + o.subdomain() + domain,
	}
	if s.RequireHost {
		hosts["authdomain"] = domain
		if s.Guests {
			hosts["anonymousdomain"] = "guest." + domain
		}
	}
	// LJM falls back to a public server of its makers when the key is missing.
	stun := []any{}
	if s.STUNPort > 0 {
		stun = append(stun, object{"urls": "stun:" + hostOnly(o.host) + ":" + strconv.Itoa(s.STUNPort)})
	}
	c := object{
		"hosts":                 hosts,
		"websocket":             o.wsURL("xmpp-websocket"),
		"websocketKeepAliveUrl": o.url("_unlock"),
		"bridgeChannel":         object{"preferSctp": s.PreferSCTP},
		"flags": object{
			"sourceNameSignaling":         true,
			"sendMultipleVideoStreams":    true,
			"receiveMultipleVideoStreams": true,
		},
		"p2p": object{
			"enabled":                    true,
			"stunServers":                stun,
			"codecPreferenceOrder":       []any{"AV1", "VP9", "VP8", "H264"},
			"mobileCodecPreferenceOrder": []any{"AV1", "VP9", "VP8", "H264"},
		},
		"videoQuality": object{
			"codecPreferenceOrder":       []any{"AV1", "VP9", "VP8", "H264"},
			"mobileCodecPreferenceOrder": []any{"VP8", "VP9", "H264", "AV1"},
			"enableAdaptiveMode":         true,
			// The order above wins over it. The December 2021 library takes a
			// videoQuality without it as a wish for H264 and sends no simulcast.
			"preferredCodec": "VP8",
		},
		"resolution": 720,
		"constraints": object{"video": object{
			"height": object{"ideal": 720, "max": 720, "min": 180},
			"width":  object{"ideal": 1280, "max": 1280, "min": 320},
		}},
		"startAudioMuted":         10,
		"startVideoMuted":         10,
		"channelLastN":            -1,
		"enableNoAudioDetection":  true,
		"enableNoisyMicDetection": true,
		"enableWelcomePage":       true,
		"prejoinConfig":           object{"enabled": true},
		"requireDisplayName":      s.RequireDisplayName,
		"analytics":               object{"disabled": true},
		"testing":                 object{"enableCodecSelectionAPI": true},
		"virtualBackground":       object{"enableV2": true},
	}
	if s.BOSH {
		c["bosh"] = o.url("http-bind")
	}
	if s.ConferenceRequest {
		c["conferenceRequestUrl"] = o.url("conference-request/v1")
	}
	if s.HiddenDomain != "" {
		c["hiddenDomain"] = s.HiddenDomain
	}
	if s.TokenAuthURL != "" {
		c["tokenAuthUrl"] = s.TokenAuthURL
	}
	if s.IceRestart {
		c["enableIceRestart"] = true
	}
	// Other buttons that are off have no identity to be found by; these look here.
	if s.NoPolls {
		c["disablePolls"] = true
	}
	if s.NoReactions {
		c["disableReactions"] = true
	}
	if s.Whiteboard {
		c["whiteboard"] = object{"enabled": true, "collabServerBaseUrl": o.scheme + "://" + o.host}
	}
	if f := s.FileSharing; f.On {
		url := f.URL
		if url == "" {
			url = o.scheme + "://" + o.host + FilesPrefix
		}
		c["fileSharing"] = object{"enabled": true, "apiUrl": url, "maxFileSize": f.Max}
	}
	if s.VisitorQueue {
		c["visitors"] = object{"queueService": o.host} // jitsi-meet adds scheme and path
	}
	if s.Etherpad {
		c["etherpad_base"] = o.scheme + "://" + o.host + "/etherpad/p/"
	}
	if s.Transcription {
		c["transcription"] = object{"enabled": true}
	}
	merge(c, s.Config)
	return c
}

// interfaceValues are the keys of interface_config.js that a stock build still
// reads without a default of its own, overrides merged in.
func (s *Site) interfaceValues() object {
	c := object{
		"APP_NAME":                                        "Jitsi Meet",
		"NATIVE_APP_NAME":                                 "Jitsi Meet",
		"PROVIDER_NAME":                                   "Jitsi",
		"AUDIO_LEVEL_PRIMARY_COLOR":                       "rgba(255,255,255,0.4)",
		"AUDIO_LEVEL_SECONDARY_COLOR":                     "rgba(255,255,255,0.2)",
		"AUTO_PIN_LATEST_SCREEN_SHARE":                    "remote-only",
		"BRAND_WATERMARK_LINK":                            "",
		"CLOSE_PAGE_GUEST_HINT":                           false,
		"DEFAULT_BACKGROUND":                              "#040404",
		"DEFAULT_WELCOME_PAGE_LOGO_URL":                   "images/watermark.svg",
		"DISABLE_DOMINANT_SPEAKER_INDICATOR":              false,
		"DISABLE_JOIN_LEAVE_NOTIFICATIONS":                false,
		"DISABLE_PRESENCE_STATUS":                         false,
		"DISABLE_TRANSCRIPTION_SUBTITLES":                 false,
		"DISABLE_VIDEO_BACKGROUND":                        false,
		"DISPLAY_WELCOME_FOOTER":                          true,
		"DISPLAY_WELCOME_PAGE_ADDITIONAL_CARD":            false,
		"DISPLAY_WELCOME_PAGE_CONTENT":                    false,
		"DISPLAY_WELCOME_PAGE_TOOLBAR_ADDITIONAL_CONTENT": false,
		"ENABLE_DIAL_OUT":                                 true,
		"FILM_STRIP_MAX_HEIGHT":                           120,
		"GENERATE_ROOMNAMES_ON_WELCOME_PAGE":              true,
		"HIDE_INVITE_MORE_HEADER":                         false,
		"JITSI_WATERMARK_LINK":                            "",
		"LANG_DETECTION":                                  true,
		"LOCAL_THUMBNAIL_RATIO":                           1.7777777777777777,
		"MAXIMUM_ZOOMING_COEFFICIENT":                     1.3,
		"MOBILE_APP_PROMO":                                true,
		"OPTIMAL_BROWSERS":                                []any{"chrome", "chromium", "firefox", "electron", "safari", "webkit"},
		"POLICY_LOGO":                                     nil,
		"RECENT_LIST_ENABLED":                             true,
		"REMOTE_THUMBNAIL_RATIO":                          1,
		"SETTINGS_SECTIONS":                               []any{"devices", "language", "moderator", "profile", "calendar", "sounds", "more"},
		"SHOW_BRAND_WATERMARK":                            false,
		"SHOW_CHROME_EXTENSION_BANNER":                    false,
		"SHOW_JITSI_WATERMARK":                            true,
		"SHOW_POWERED_BY":                                 false,
		"SHOW_PROMOTIONAL_CLOSE_PAGE":                     false,
		"SUPPORT_URL":                                     "",
		"UNSUPPORTED_BROWSERS":                            []any{},
		"VERTICAL_FILMSTRIP":                              true,
		"VIDEO_LAYOUT_FIT":                                "both",
		"VIDEO_QUALITY_LABEL_DISABLED":                    false,
	}
	merge(c, s.InterfaceConfig)
	return c
}

// script is `var NAME = {…};`, which may stand inside an HTML <script> as well:
// encoding/json escapes <, >, &, U+2028 and U+2029 (deployment.md §4).
func script(name string, v object) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("var " + name + " = ")
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b.Truncate(b.Len() - 1) // Encode ends with a newline
	b.WriteString(";\n")
	return b.Bytes(), nil
}

// merge puts src over dst, table by table.
func merge(dst, src object) {
	for k, v := range src {
		sub, ok := v.(object)
		if !ok {
			dst[k] = v
			continue
		}
		old, ok := dst[k].(object)
		if !ok {
			old = object{}
		}
		merged := make(object, len(old)+len(sub))
		merge(merged, old)
		merge(merged, sub)
		dst[k] = merged
	}
}

// literalDepth is more than any key of config.js needs.
const literalDepth = 16

// validateLiteral accepts what a configuration file can hold and JSON can say.
func validateLiteral(at string, v any, depth int) error {
	if depth > literalDepth {
		return fmt.Errorf("%s: nested too deeply", at)
	}
	switch v := v.(type) {
	case nil, bool, string, int, int64:
		return nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s: not a number", at)
		}
		return nil
	case []any:
		for i, e := range v {
			if err := validateLiteral(at+"["+strconv.Itoa(i)+"]", e, depth+1); err != nil {
				return err
			}
		}
		return nil
	case []object: // an array of tables
		for i, e := range v {
			if err := validateLiteral(at+"["+strconv.Itoa(i)+"]", e, depth+1); err != nil {
				return err
			}
		}
		return nil
	case object:
		for k, e := range v {
			if err := validateLiteral(at+"."+k, e, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s: %T can't stand in a configuration script", at, v)
}
