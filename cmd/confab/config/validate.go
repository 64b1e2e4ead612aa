package config

// What values make sense.

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// problems collects what is wrong, each with the place that set the key.
type problems struct {
	cfg  *Config
	list []string
}

func (p *problems) check(ok bool, key, format string, args ...any) {
	if !ok {
		p.list = append(p.list, fmt.Sprintf("%s: %s: %s", p.cfg.Where(key), key, fmt.Sprintf(format, args...)))
	}
}

func (p *problems) between(key string, n, low, high int) {
	if high == math.MaxInt {
		p.check(n >= low, key, "%d is less than %d", n, low)
		return
	}
	p.check(n >= low && n <= high, key, "%d is not between %d and %d", n, low, high)
}

func (p *problems) duration(key string, d Duration, low, high time.Duration) {
	p.check(d.Duration >= low && d.Duration <= high, key, "%v is not between %v and %v", d, low, high)
}

func (p *problems) oneOf(key, value string, allowed ...string) {
	p.check(slices.Contains(allowed, value), key, "%q is none of %s", value, strings.Join(allowed, ", "))
}

func (p *problems) listOf(key string, values []string, allowed ...string) {
	p.check(len(values) > 0, key, "is empty")
	for _, v := range values {
		p.oneOf(key, v, allowed...)
	}
}

func (p *problems) address(key, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
		if host == "localhost" {
			err = nil
		}
	}
	n, numErr := strconv.Atoi(port)
	p.check(err == nil && numErr == nil && n >= 0 && n <= 65535, key,
		`%q is no address such as ":443" or "127.0.0.1:8443"`, addr)
}

func (p *problems) prefixes(key string, list []string) {
	for _, s := range list {
		_, err := netip.ParsePrefix(s)
		if err != nil {
			_, err = netip.ParseAddr(s)
		}
		p.check(err == nil, key, `%q is no address range such as "10.0.0.0/8"`, s)
	}
}

func (p *problems) addresses(key string, list []string) {
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		p.check(err == nil && a.Zone() == "", key, `%q is no address such as "192.0.2.1"`, s)
	}
}

// validate returns all mistakes.
func (c *Config) validate() []string {
	p := &problems{cfg: c}
	p.check(ValidDomain(c.Domain), "domain", "%q is no domain name (a name with other letters than a-z goes in its xn-- form)", c.Domain)
	p.check(c.Database == "" || isPostgres(string(c.Database)), "database", `is neither empty nor a postgres:// address`)
	if c.ACME != "" {
		_, err := mail.ParseAddress(c.ACME)
		p.check(err == nil, "acme", "%q is no e-mail address", c.ACME)
	}
	for _, a := range c.Aliases {
		p.check(ValidDomain(a) && a != c.Domain, "aliases", "%q is no further domain name", a)
	}
	c.validateRoles(p)
	c.validateNetwork(p)
	c.validateMeetings(p)
	c.validateTURN(p)
	c.validateJWT(p)
	c.validateTenants(p)
	c.validateIntegrations(p)
	c.validateTranscription(p)

	l := &c.Limits
	p.between("limits.stanza", l.Stanza, 16<<10, 64<<20)
	p.between("limits.stanza_unauthenticated", l.StanzaUnauthenticated, 4<<10, l.Stanza)
	p.between("limits.presence", l.Presence, 4<<10, l.Stanza)
	for key, n := range map[string]int{
		"login_rate": l.LoginRate, "presence_rate": l.PresenceRate, "iq_rate": l.IQRate, "message_rate": l.MessageRate, "command_rate": l.CommandRate, "byte_rate": l.ByteRate,
		"connections_per_ip": l.ConnectionsPerIP, "requests_per_ip": l.RequestsPerIP, "password_tries": l.PasswordTries, "uploads_per_ip": l.UploadsPerIP,
		"whiteboard_rate": l.WhiteboardRate, "whiteboard_bytes": l.WhiteboardBytes,
	} {
		p.between("limits."+key, n, 0, math.MaxInt32)
	}
	p.prefixes("limits.exempt", l.Exempt)

	levels := []string{"debug", "info", "warn", "error"}
	p.oneOf("log.level", c.Log.Level, levels...)
	p.oneOf("log.format", c.Log.Format, "auto", "text", "json")
	p.oneOf("log.output", c.Log.Output, "stderr", "syslog", "file")
	p.check(c.Log.Output != "file" || filepath.IsAbs(c.Log.File), "log.file", "%q is no path from the root", c.Log.File)
	p.oneOf("log.facility", c.Log.Facility, slices.Sorted(maps.Keys(Facilities))...)
	for name, level := range c.Log.Components {
		p.check(slices.Contains(Components, name), "log.components", "%q is none of %s", name, strings.Join(Components, ", "))
		p.check(slices.Contains(levels, level), "log.components", "%s = %q is none of %s", name, level, strings.Join(levels, ", "))
	}
	slices.Sort(p.list)
	return p.list
}

func (c *Config) validateNetwork(p *problems) {
	for _, a := range c.Network.PublicAddresses {
		if a == "auto" {
			continue
		}
		public, private, pair := strings.Cut(a, "/")
		_, err := netip.ParseAddr(public)
		if pair && err == nil {
			_, err = netip.ParseAddr(private)
		}
		p.check(err == nil, "network.public_addresses", `%q is neither "auto" nor an address nor a PUBLIC/PRIVATE pair`, a)
	}
	p.oneOf("tls.mode", c.TLS.Mode, "auto", "off")
	p.check(c.TLS.Cert == "" || c.TLS.Key != "", "tls.cert", "tls.key is missing")
	p.check(c.TLS.Key == "" || c.TLS.Cert != "", "tls.key", "tls.cert is missing")
	u, err := url.Parse(c.TLS.ACMEDirectory)
	p.check(err == nil && u.Scheme == "https" && u.Host != "", "tls.acme_directory", "%q is no https:// address", c.TLS.ACMEDirectory)

	p.check(len(c.Web.Listen) > 0, "web.listen", "is empty")
	for _, a := range c.Web.Listen {
		p.address("web.listen", a)
	}
	if c.Web.HTTPListen != "" {
		p.address("web.http_listen", c.Web.HTTPListen)
	}
	if c.Admin.Listen != "" {
		p.address("admin.listen", c.Admin.Listen)
	}
	p.prefixes("web.trusted_proxies", c.Web.TrustedProxies)
	p.prefixes("admin.allow", c.Admin.Allow)
	for _, k := range c.Admin.APIKeys {
		p.check(len(k) >= 16, "admin.api_keys", "a key of less than 16 bytes can be guessed")
	}
	p.between("xmpp.port", c.XMPP.Port, 0, 65535)
	p.between("xmpp.tls_port", c.XMPP.TLSPort, 0, 65535)
	p.check(c.XMPP.TLSPort == 0 || c.XMPP.TLSPort != c.XMPP.Port, "xmpp.tls_port", "is the same as xmpp.port")
	p.duration("xmpp.idle_timeout", c.XMPP.IdleTimeout, 2*time.Second, time.Hour)
	p.duration("xmpp.resume_timeout", c.XMPP.ResumeTimeout, time.Second, time.Hour)
	p.duration("auth.session_lifetime", c.Auth.SessionLifetime, time.Minute, 365*24*time.Hour)
}

func (c *Config) validateMeetings(p *problems) {
	r := &c.Rooms
	p.between("rooms.max_occupants", r.MaxOccupants, 0, math.MaxInt)
	p.oneOf("rooms.moderators", r.Moderators, "first", "hosts", "everyone", "token")
	p.duration("rooms.linger", r.Linger, 0, 24*time.Hour)
	p.duration("rooms.services_linger", r.ServicesLinger, 0, 24*time.Hour)
	p.between("rooms.join_rate", r.JoinRate, 0, math.MaxInt)
	p.between("rooms.max_rooms", r.MaxRooms, 1, math.MaxInt)
	p.between("rooms.parked_joins", r.ParkedJoins, 1, math.MaxInt)
	p.between("rooms.history", r.History, 0, 1000)
	p.check(!r.WaitForHost || r.Lobby, "rooms.wait_for_host", "needs rooms.lobby")
	p.between("rooms.breakouts_max", r.BreakoutsMax, 1, 1000)
	p.between("rooms.messages_max", r.MessagesMax, 0, math.MaxInt)
	p.between("rooms.metadata_max", r.MetadataMax, 1024, 256<<10)
	p.between("rooms.polls_max", r.PollsMax, 1, 1000)
	p.between("rooms.file_max_size", r.FileMaxSize, 1, math.MaxInt)
	p.between("rooms.files_max", r.FilesMax, 1, 10000)
	p.between("rooms.files_disk_max", r.FilesDiskMax, 1, math.MaxInt)
	p.between("rooms.whiteboard_message_max", r.WhiteboardMessageMax, 64<<10, 64<<20)
	p.between("rooms.whiteboard_sockets", r.WhiteboardSockets, 1, 10000)

	v := &c.Visitors
	p.between("visitors.after", v.After, 0, math.MaxInt)
	p.between("visitors.max", v.Max, 1, 100_000)
	p.check(v.After == 0 || c.Auth.Guests || c.JWTOn(), "visitors.after", "visitors come without an account, and auth.guests lets nobody in without")

	p.between("rooms.presets", r.Presets, 0, 100_000)

	rv := &c.Reservations
	if rv.URL != "" {
		u, err := url.Parse(rv.URL)
		p.check(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.RawQuery == "" && u.Fragment == "",
			"reservations.url", "%q is no http:// or https:// address", rv.URL)
	}
	p.headers("reservations.headers", rv.Headers)
	p.duration("reservations.timeout", rv.Timeout, time.Second, time.Minute)
	p.between("reservations.retries", rv.Retries, 0, 10)
	p.duration("reservations.retry_delay", rv.RetryDelay, 0, time.Minute)

	f := &c.Focus
	p.duration("focus.start_timeout", f.StartTimeout, time.Second, time.Hour)
	p.duration("focus.lonely_timeout", f.LonelyTimeout, 0, 24*time.Hour)
	p.between("focus.min_participants", f.MinParticipants, 1, 2)
	p.between("focus.max_sources_per_user", f.MaxSourcesPerUser, 2, 1000)
	p.listOf("focus.codecs", f.Codecs, "av1", "vp9", "vp8", "h264")
	p.between("focus.max_audio_senders", f.MaxAudioSenders, 0, math.MaxInt)
	p.between("focus.max_video_senders", f.MaxVideoSenders, 0, math.MaxInt)

	for _, d := range c.Services.TrustedDomains {
		p.check(ValidDomain(d), "services.trusted_domains", "%q is no host name in lower case", d)
	}
	p.between("recording.retries", c.Recording.Retries, -1, 1000)
	p.duration("recording.pending_timeout", c.Recording.PendingTimeout, time.Second, time.Hour)
	p.between("recording.tries_per_ip", c.Recording.TriesPerIP, 0, math.MaxInt)
	p.between("recording.tries_per_room", c.Recording.TriesPerRoom, 0, math.MaxInt)

	b := &c.Bridge
	p.between("bridge.udp_port", b.UDPPort, 0, 65535)
	p.oneOf("bridge.channel", b.Channel, "auto", "datachannel", "websocket", "both")
	p.between("bridge.sockets", b.Sockets, 0, 256)
	p.between("bridge.workers", b.Workers, 0, 256)
	p.between("bridge.last_n", b.LastN, -1, math.MaxInt)
	for size, n := range b.LastNLimits {
		from, err := strconv.Atoi(size)
		p.check(err == nil && from >= 0 && n >= -1, "bridge.last_n_limits", "%s = %d is no size of a meeting and its last-N", size, n)
	}
	p.check(b.MaxCPU > 0 && b.MaxCPU <= 1, "bridge.max_cpu", "must be above 0 and at most 1, is %v", b.MaxCPU)
	p.between("bridge.max_packets", b.MaxPackets, 0, math.MaxInt)
	p.between("bridge.max_egress", b.MaxEgress, 0, math.MaxInt)
	p.duration("node.drain_timeout", c.Node.DrainTimeout, 0, 7*24*time.Hour)
	p.between("bridge.ssrc_limit_video", b.SSRCLimitVideo, 1, 1000)
	p.between("bridge.ssrc_limit_audio", b.SSRCLimitAudio, 1, 1000)
	p.between("bridge.default_max_height", b.DefaultMaxHeight, 0, 4320)
	p.between("bridge.loudest", b.Loudest, 0, math.MaxInt)
	p.between("bridge.loudest_above", b.LoudestAbove, 0, math.MaxInt)
	p.oneOf("bridge.red_policy", b.REDPolicy, "forward", "strip")
	p.listOf("bridge.srtp_profiles", b.SRTPProfiles, "GCM-128", "GCM-256", "CM-SHA1-80")
	p.duration("bridge.idle_timeout", b.IdleTimeout, time.Second, 24*time.Hour)
	p.between("bridge.max_ingress", b.MaxIngress, 100_000, math.MaxInt)
	p.between("bridge.max_audio", b.MaxAudio, 10_000, math.MaxInt32)
	p.between("bridge.max_audio_packets", b.MaxAudioPackets, 50, 100_000)
	p.between("bridge.max_ingress_packets", b.MaxIngressPackets, 100, math.MaxInt)
	p.between("bridge.initial_max_height", b.InitialMaxHeight, 0, 4320)
	p.between("bridge.stage_height", b.StageHeight, 0, 4320)
	p.between("bridge.oversend_max", b.OversendMax, 0, math.MaxInt)
	p.between("bridge.min_bitrate", b.MinBitrate, 1000, 1_000_000_000)
	p.between("bridge.max_bitrate", b.MaxBitrate, b.MinBitrate, 1_000_000_000)
	p.between("bridge.start_bitrate", b.StartBitrate, b.MinBitrate, max(b.MinBitrate, b.MaxBitrate))
	p.check(b.BWEChangeThreshold > 0 && b.BWEChangeThreshold <= 1, "bridge.bwe_change_threshold", "%v is not above 0 and up to 1", b.BWEChangeThreshold)
	p.between("bridge.assumed_bandwidth_limit", b.AssumedBandwidthLimit, 0, math.MaxInt)
}

// label is one part of a host name (RFC 1123 §2.1).
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidDomain reports whether s can be the main domain: a host name in lower
// case, or an IPv4 address in a network without names.
func ValidDomain(s string) bool {
	if len(s) > 200 { // the sub-names (internal.auth.…) must fit in 255, too
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !label.MatchString(part) {
			return false
		}
	}
	return true
}

func isPostgres(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}
