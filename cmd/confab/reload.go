package main

// SIGHUP: what changes without an end to the meetings.

import (
	"context"
	"os"
	"reflect"
	"slices"
	"strings"

	"confab/cmd/confab/config"
)

// reloads says when the configuration is to be read again, and how.
type reloads struct {
	signal <-chan os.Signal // nil: never
	load   func() (config.Config, error)
}

// reloadable are the keys that a running server takes over: those of rooms for new
// ones. The others are told to need a restart.
var reloadable = []string{
	"web.dir", "web.trusted_proxies", "web.frame_ancestors", "web.csp", "web.cors_origin", "web.hsts",
	"web.config", "web.interface_config", "admin.allow", "admin.api_keys", "tenants",
	"rooms.max_occupants", "rooms.join_rate", "rooms.restrict_nicks", "rooms.require_display_name", "rooms.moderated", "rooms.moderated_tenants",
	"rooms.metadata_max", "rooms.av_moderation", "rooms.polls", "rooms.polls_max", "rooms.reactions", "rooms.end_for_all",
	"rooms.messages_max", "rooms.messages_token_lifts",
	"rooms.breakouts_max", "rooms.file_max_size", "rooms.files_max", "rooms.files_disk_max", "limits.uploads_per_ip",
	"auth.jwt.app_id", "auth.jwt.secret", "auth.jwt.algorithm", "auth.jwt.key_server", "auth.jwt.keys_url", "auth.jwt.issuers",
	"auth.jwt.audiences", "auth.jwt.moderator_issuers", "auth.jwt.allow_empty", "auth.jwt.require_room", "auth.jwt.verify_tenant",
	"auth.jwt.require_exp", "auth.jwt.login_url",
	"focus.ssrc_rewriting", "focus.mid_extension",
	"metrics.jitsi_names", "visitors.after", "visitors.max", "visitors.auto_promote",
	"reservations.url", "reservations.headers", "reservations.timeout",
	"turn.ttl", "turn.servers", "turn.access", "turn.sni",
}

// relayReloadable are those that a relay alone takes over, too.
var relayReloadable = []string{
	"log.level", "log.components", "log.output", "log.file", "log.facility", "log.format", "node.drain_timeout",
	"turn.secrets", "turn.max_session", "turn.max_lifetime", "turn.nonce_ttl", "turn.fingerprint", "turn.software",
	"turn.quota_user", "turn.quota_address", "turn.quota_total", "turn.max_bps", "turn.total_bps",
	"turn.unauthorized_rate", "turn.unauthorized_total", "turn.binding_rate", "turn.proxy_protocol",
	"turn.alternate", "turn.alternate_servers", "turn.tls_alternate_servers",
	"turn.peers.allow", "turn.peers.deny", "turn.peers.private", "turn.peers.only_bridge", "turn.peers.min_port",
}

// watchReloads serves signals until ctx ends.
func (s *server) watchReloads(ctx context.Context, re reloads) {
	current := s.cfg
	for {
		select {
		case <-ctx.Done():
			return
		case <-re.signal:
			current = s.reload(ctx, current, re)
		}
	}
}

// reload returns what holds from now on. A configuration with mistakes changes nothing.
func (s *server) reload(ctx context.Context, current config.Config, re reloads) config.Config {
	s.logs.reopen()
	log := s.logs.of("main")
	wanted, err := re.load()
	if err != nil {
		log.Error("configuration not reloaded", "err", err)
		return current
	}
	next, taken, ignored := merge(current, wanted, slices.Concat(reloadable, relayReloadable))
	wc, err := s.webConfig(next)
	if err == nil {
		err = s.web.Reload(wc)
	}
	if err == nil {
		err = s.reloadJWT(next)
	}
	if err == nil {
		err = s.logs.move(next)
	}
	if err != nil {
		log.Error("configuration not reloaded", "err", err)
		return current
	}
	s.reloaded.Store(&next)
	s.logs.setLevels(next)
	s.announce()
	if s.files != nil {
		s.files.SetLimits(fileLimits(next))
	}
	s.breakout.SetMax(next.Rooms.BreakoutsMax)
	s.setAPIKeys(next)
	s.focus.SetRewriting(next.Focus.SSRCRewriting, next.Focus.MIDExtension)
	s.focus.SetVisitorsAfter(next.Visitors.After)
	s.bookings.Reload(reservationsOf(next))
	s.reloadTURN(ctx, next)
	log.Info("configuration reloaded", "changed", strings.Join(taken, ", "))
	if len(ignored) > 0 {
		log.Warn("changed keys need a restart", "keys", strings.Join(ignored, ", "))
	}
	return next
}

// merge is current with those keys of wanted that are reloadable, and the names of the
// keys that were taken and of those that were not.
func merge(current, wanted config.Config, reloadable []string) (next config.Config, taken, ignored []string) {
	next = current
	for _, key := range config.Keys() {
		now, then := config.ValueOf(&next, key), config.ValueOf(&wanted, key)
		switch {
		case !now.IsValid() || reflect.DeepEqual(now.Interface(), then.Interface()):
		case key == "visitors.after" && (current.Visitors.After == 0) != (wanted.Visitors.After == 0):
			ignored = append(ignored, key) // without visitors there is nowhere to send them
		case slices.Contains(reloadable, key):
			now.Set(then)
			taken = append(taken, key)
		default:
			ignored = append(ignored, key)
		}
	}
	return next, taken, ignored
}
