// Package config is the configuration of the program: its keys, where they come from, and
// what values make sense.
package config

import (
	"log/slog"
	"time"
)

// Config is the configuration of the whole program. Each field is one key of
// the file; default.toml documents all of them and holds their defaults.
type Config struct {
	Domain      string   `toml:"domain"`
	Aliases     []string `toml:"aliases"`
	DataDir     string   `toml:"data_dir"`
	Database    Secret   `toml:"database"`
	ACME        string   `toml:"acme"`
	RequireHost bool     `toml:"require_host"`

	Network struct {
		PublicAddresses  []string `toml:"public_addresses"`
		AdvertisePrivate bool     `toml:"advertise_private"`
		Bind             []string `toml:"bind"`
		Exclude          []string `toml:"exclude"`
		IPv6             bool     `toml:"ipv6"`
	} `toml:"network"`

	TLS struct {
		Mode          string `toml:"mode"`
		Cert          string `toml:"cert"`
		Key           string `toml:"key"`
		ACMEDirectory string `toml:"acme_directory"`
	} `toml:"tls"`

	Web struct {
		Listen          []string       `toml:"listen"`
		HTTPListen      string         `toml:"http_listen"`
		Dir             string         `toml:"dir"`
		TrustedProxies  []string       `toml:"trusted_proxies"`
		Origins         []string       `toml:"origins"`
		FrameAncestors  []string       `toml:"frame_ancestors"`
		CSP             string         `toml:"csp"`
		CORSOrigin      string         `toml:"cors_origin"`
		HSTS            bool           `toml:"hsts"`
		Config          map[string]any `toml:"config"`
		InterfaceConfig map[string]any `toml:"interface_config"`
	} `toml:"web"`

	Admin struct {
		Listen  string   `toml:"listen"`
		Allow   []string `toml:"allow"`
		APIKeys []Secret `toml:"api_keys"`

		StockPaths bool `toml:"stock_paths"`
	} `toml:"admin"`

	XMPP struct {
		Port          int      `toml:"port"`
		TLSPort       int      `toml:"tls_port"`
		BOSH          bool     `toml:"bosh"`
		PushServices  bool     `toml:"push_services"`
		IdleTimeout   Duration `toml:"idle_timeout"`
		ResumeTimeout Duration `toml:"resume_timeout"`
	} `toml:"xmpp"`

	Auth struct {
		Guests          bool     `toml:"guests"`
		SessionLifetime Duration `toml:"session_lifetime"`
		AutoLogin       bool     `toml:"auto_login"`
		JWT             struct {
			AppID            string   `toml:"app_id"`
			Secret           Secret   `toml:"secret"`
			Algorithm        string   `toml:"algorithm"`
			KeyServer        string   `toml:"key_server"`
			KeysURL          string   `toml:"keys_url"`
			Issuers          []string `toml:"issuers"`
			Audiences        []string `toml:"audiences"`
			ModeratorIssuers []string `toml:"moderator_issuers"`
			AllowEmpty       bool     `toml:"allow_empty"`
			RequireRoom      bool     `toml:"require_room"`
			VerifyTenant     bool     `toml:"verify_tenant"`
			RequireExp       bool     `toml:"require_exp"`
			LoginURL         string   `toml:"login_url"`
		} `toml:"jwt"`
	} `toml:"auth"`

	Rooms struct {
		MaxOccupants         int      `toml:"max_occupants"`
		Moderators           string   `toml:"moderators"`
		Linger               Duration `toml:"linger"`
		JoinRate             int      `toml:"join_rate"`
		MaxRooms             int      `toml:"max_rooms"`
		ParkedJoins          int      `toml:"parked_joins"`
		History              int      `toml:"history"`
		SummonFocus          bool     `toml:"summon_focus"`
		RestrictNicks        bool     `toml:"restrict_nicks"`
		Presets              int      `toml:"presets"`
		MetadataMax          int      `toml:"metadata_max"`
		AVModeration         bool     `toml:"av_moderation"`
		Moderated            []string `toml:"moderated"`
		ModeratedTenants     []string `toml:"moderated_tenants"`
		Breakout             bool     `toml:"breakout"`
		BreakoutsMax         int      `toml:"breakouts_max"`
		Polls                bool     `toml:"polls"`
		PollsMax             int      `toml:"polls_max"`
		Reactions            bool     `toml:"reactions"`
		EndForAll            bool     `toml:"end_for_all"`
		FileMaxSize          int      `toml:"file_max_size"`
		FilesMax             int      `toml:"files_max"`
		FilesDiskMax         int      `toml:"files_disk_max"`
		WhiteboardMessageMax int      `toml:"whiteboard_message_max"`
		WhiteboardSockets    int      `toml:"whiteboard_sockets"`
		Lobby                bool     `toml:"lobby"`
		RequireName          bool     `toml:"require_display_name"`
		WaitForHost          bool     `toml:"wait_for_host"`
		ServicesLinger       Duration `toml:"services_linger"`
		MessagesMax          int      `toml:"messages_max"`
		MessagesTokenLifts   bool     `toml:"messages_token_lifts"`
	} `toml:"rooms"`

	Integrations struct {
		Files      string `toml:"files"`
		Whiteboard string `toml:"whiteboard"`
		Etherpad   string `toml:"etherpad"`
	} `toml:"integrations"`

	Visitors struct {
		After       int  `toml:"after"`
		Max         int  `toml:"max"`
		AutoPromote bool `toml:"auto_promote"`
		Queue       bool `toml:"queue"`
	} `toml:"visitors"`

	Focus struct {
		StartTimeout      Duration `toml:"start_timeout"`
		LonelyTimeout     Duration `toml:"lonely_timeout"`
		MinParticipants   int      `toml:"min_participants"`
		MaxSourcesPerUser int      `toml:"max_sources_per_user"`
		SSRCRewriting     bool     `toml:"ssrc_rewriting"`
		MIDExtension      bool     `toml:"mid_extension"`
		ICERestart        bool     `toml:"ice_restart"`
		Codecs            []string `toml:"codecs"`
		OpusRED           bool     `toml:"opus_red"`
		RandomDocument    bool     `toml:"random_document_name"`
		MaxAudioSenders   int      `toml:"max_audio_senders"`
		MaxVideoSenders   int      `toml:"max_video_senders"`
	} `toml:"focus"`

	Services struct {
		TrustedDomains []string `toml:"trusted_domains"`
	} `toml:"services"`

	Recording struct {
		Retries        int      `toml:"retries"`
		PendingTimeout Duration `toml:"pending_timeout"`
		TriesPerIP     int      `toml:"tries_per_ip"`
		TriesPerRoom   int      `toml:"tries_per_room"`
	} `toml:"recording"`
	Transcription struct {
		URL          string            `toml:"url"`
		Headers      map[string]Secret `toml:"headers"`
		PingInterval Duration          `toml:"ping_interval"`
		PingTimeout  Duration          `toml:"ping_timeout"`
	} `toml:"transcription"`
	Reservations struct {
		URL        string            `toml:"url"`
		Headers    map[string]Secret `toml:"headers"`
		Timeout    Duration          `toml:"timeout"`
		Retries    int               `toml:"retries"`
		RetryDelay Duration          `toml:"retry_delay"`
	} `toml:"reservations"`

	Node struct {
		Roles        []string `toml:"roles"`
		DrainTimeout Duration `toml:"drain_timeout"`
	} `toml:"node"`

	Bridge struct {
		UDPPort           int            `toml:"udp_port"`
		Channel           string         `toml:"channel"`
		Sockets           int            `toml:"sockets"`
		Workers           int            `toml:"workers"`
		LastN             int            `toml:"last_n"`
		LastNLimits       map[string]int `toml:"last_n_limits"`
		ReduceLastN       bool           `toml:"reduce_last_n"`
		MaxCPU            float64        `toml:"max_cpu"`
		MaxPackets        int            `toml:"max_packets"`
		MaxEgress         int            `toml:"max_egress"`
		Drain             bool           `toml:"drain"`
		SSRCLimitVideo    int            `toml:"ssrc_limit_video"`
		SSRCLimitAudio    int            `toml:"ssrc_limit_audio"`
		DefaultMaxHeight  int            `toml:"default_max_height"`
		Loudest           int            `toml:"loudest"`
		LoudestAbove      int            `toml:"loudest_above"`
		REDPolicy         string         `toml:"red_policy"`
		SRTPProfiles      []string       `toml:"srtp_profiles"`
		IdleTimeout       Duration       `toml:"idle_timeout"`
		MaxIngress        int            `toml:"max_ingress"`
		MaxAudio          int            `toml:"max_audio"`
		MaxAudioPackets   int            `toml:"max_audio_packets"`
		MaxIngressPackets int            `toml:"max_ingress_packets"`

		InitialMaxHeight      int     `toml:"initial_max_height"`
		StageHeight           int     `toml:"stage_height"`
		OversendStage         bool    `toml:"oversend_stage"`
		OversendMax           int     `toml:"oversend_max"`
		StartBitrate          int     `toml:"start_bitrate"`
		MinBitrate            int     `toml:"min_bitrate"`
		MaxBitrate            int     `toml:"max_bitrate"`
		TrustBWE              bool    `toml:"trust_bwe"`
		BWEChangeThreshold    float64 `toml:"bwe_change_threshold"`
		AssumedBandwidthLimit int     `toml:"assumed_bandwidth_limit"`
	} `toml:"bridge"`

	TURN struct {
		Mode             string       `toml:"mode"`
		Listen           []string     `toml:"listen"`
		Port             int          `toml:"port"`
		UDP              bool         `toml:"udp"`
		TCP              bool         `toml:"tcp"`
		TLS              bool         `toml:"tls"`
		DTLS             bool         `toml:"dtls"`
		TLSPort          int          `toml:"tls_port"`
		Share443         bool         `toml:"share_443"`
		SNI              []string     `toml:"sni"`
		ShareMediaPort   bool         `toml:"share_media_port"`
		RFC5780          bool         `toml:"rfc5780"`
		AltPort          int          `toml:"alt_port"`
		Realm            string       `toml:"realm"`
		Secrets          []Secret     `toml:"secrets"`
		TTL              Duration     `toml:"ttl"`
		MaxSession       Duration     `toml:"max_session"`
		Access           []string     `toml:"access"`
		Servers          []TURNServer `toml:"servers"`
		Probe            Duration     `toml:"probe_interval"`
		RelayAddresses   []string     `toml:"relay_addresses"`
		MinPort          int          `toml:"min_port"`
		MaxPort          int          `toml:"max_port"`
		TCPRelay         bool         `toml:"tcp_relay"`
		Mobility         bool         `toml:"mobility"`
		ICMP             bool         `toml:"icmp"`
		TOS              bool         `toml:"tos"`
		Fingerprint      string       `toml:"fingerprint"`
		Software         bool         `toml:"software"`
		MaxLifetime      Duration     `toml:"max_lifetime"`
		NonceTTL         Duration     `toml:"nonce_ttl"`
		UnauthorizedRate int          `toml:"unauthorized_rate"`
		UnauthorizedAll  int          `toml:"unauthorized_total"`
		BindingRate      int          `toml:"binding_rate"`
		PendingAddress   int          `toml:"pending_per_address"`
		PendingTotal     int          `toml:"pending_total"`
		ConnsAddress     int          `toml:"connections_per_address"`
		ConnsTotal       int          `toml:"connections_total"`
		ProxyProtocol    []string     `toml:"proxy_protocol"`
		Alternate        string       `toml:"alternate"`
		Alternates       []string     `toml:"alternate_servers"`
		TLSAlternates    []string     `toml:"tls_alternate_servers"`
		QuotaUser        int          `toml:"quota_user"`
		QuotaAddress     int          `toml:"quota_address"`
		QuotaTotal       int          `toml:"quota_total"`
		MaxBPS           int          `toml:"max_bps"`
		TotalBPS         int          `toml:"total_bps"`
		Peers            struct {
			Allow      []string `toml:"allow"`
			Deny       []string `toml:"deny"`
			Private    string   `toml:"private"`
			OnlyBridge bool     `toml:"only_bridge"`
			MinPort    int      `toml:"min_port"`
		} `toml:"peers"`
	} `toml:"turn"`

	Limits struct {
		Stanza                int      `toml:"stanza"`
		StanzaUnauthenticated int      `toml:"stanza_unauthenticated"`
		Presence              int      `toml:"presence"`
		LoginRate             int      `toml:"login_rate"`
		PresenceRate          int      `toml:"presence_rate"`
		IQRate                int      `toml:"iq_rate"`
		MessageRate           int      `toml:"message_rate"`
		CommandRate           int      `toml:"command_rate"`
		ByteRate              int      `toml:"byte_rate"`
		ConnectionsPerIP      int      `toml:"connections_per_ip"`
		RequestsPerIP         int      `toml:"requests_per_ip"`
		PasswordTries         int      `toml:"password_tries"`
		UploadsPerIP          int      `toml:"uploads_per_ip"`
		WhiteboardRate        int      `toml:"whiteboard_rate"`
		WhiteboardBytes       int      `toml:"whiteboard_bytes"`
		Exempt                []string `toml:"exempt"`
	} `toml:"limits"`

	Metrics struct {
		JitsiNames bool `toml:"jitsi_names"`
	} `toml:"metrics"`

	Log struct {
		Level      string            `toml:"level"`
		Format     string            `toml:"format"`
		Output     string            `toml:"output"`
		File       string            `toml:"file"`
		Facility   string            `toml:"facility"`
		Components map[string]string `toml:"components"`
	} `toml:"log"`

	Tenants []Tenant `toml:"tenants"`

	origins map[string]origin // who set a key that is not at its default
}

// TURNServer is one [[turn.servers]] entry: a server that clients are told.
type TURNServer struct {
	Type      string   `toml:"type"` // stun, turn, turns, own
	Host      string   `toml:"host"`
	Port      int      `toml:"port"`
	Transport string   `toml:"transport"` // udp, tcp
	Secret    Secret   `toml:"secret"`
	Username  string   `toml:"username"`
	Password  Secret   `toml:"password"`
	TTL       Duration `toml:"ttl"`
}

// Tenant is one [[tenants]] entry: what the rooms below /NAME/ have of their own.
type Tenant struct {
	Name            string         `toml:"name"`
	Hosts           []string       `toml:"hosts"`
	MaxOccupants    int            `toml:"max_occupants"`
	Lobby           bool           `toml:"lobby"`
	Config          map[string]any `toml:"config"`
	InterfaceConfig map[string]any `toml:"interface_config"`
	JWTSecret       Secret         `toml:"jwt_secret"`
	JWTKeysURL      string         `toml:"jwt_keys_url"`
	JWTIssuers      []string       `toml:"jwt_issuers"`
}

// IsSet reports whether somebody set the key, in the file, the environment or
// by a flag. A default address may give way to a free one, a set one may not
// (deployment.md §7.1).
func (c *Config) IsSet(key string) bool {
	_, set := c.origins[key]
	return set
}

// Where names the place that set a key, for messages about it:
// "/etc/confab/confab.toml:12", "CONFAB_TURN_PORT", "--turn-port" or "default".
func (c *Config) Where(key string) string {
	o, set := c.origins[key]
	if !set {
		return "default"
	}
	if o.file == nil {
		return o.name
	}
	return o.file.place(key)
}

// origin is who set a key: a file, a variable or a flag.
type origin struct {
	name string
	file *file
}

// Duration is written as Go does: "20s", "24h".
type Duration struct{ time.Duration }

// UnmarshalText parses a Go duration. TOML numbers arrive here, too, and are
// refused unless they have a unit.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	if d.Duration, err = time.ParseDuration(string(text)); err != nil {
		return errDuration
	}
	return nil
}

// Secret is a string that no log and no message shows.
type Secret string

// String hides the value from fmt; convert with string(s) to use it.
func (Secret) String() string { return "***" }

// GoString hides the value from %#v.
func (Secret) GoString() string { return "***" }

// LogValue hides the value from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }
