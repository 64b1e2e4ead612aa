package main

// The web front and what it learns of the rest.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco/relay"
	"confab/web"
)

// webConfig maps a configuration onto the front. Reload calls it with another one
// than the server was started with.
func (s *server) webConfig(c config.Config) (wc web.Config, err error) {
	wc = web.DefaultConfig(c.Domain)
	wc.Aliases, wc.DataDir = c.Aliases, c.DataDir
	wc.Listen = nil
	for _, addr := range s.listen {
		wc.Listen = append(wc.Listen, web.Bind{Addr: addr})
	}
	wc.HTTP = web.Bind{Addr: c.Web.HTTPListen, Default: !c.IsSet("web.http_listen")}
	wc.Admin = web.Bind{Addr: c.Admin.Listen, Default: !c.IsSet("admin.listen"), Fallback: "127.0.0.1:0"}
	wc.TLSOff = c.TLS.Mode == "off"
	wc.ShareTURN = c.TURN.Share443 && c.TURN.Mode == "full" && c.TURN.TLS
	wc.TURNNames, wc.TURNConn = c.TURN.SNI, relay.Switch
	wc.Dir = c.Web.Dir
	if wc.TrustedProxies, err = prefixes(c.Web.TrustedProxies); err != nil {
		return wc, fmt.Errorf("web.trusted_proxies: %w", err)
	}
	wc.Origins, wc.FrameAncestors = c.Web.Origins, c.Web.FrameAncestors
	wc.CSP, wc.CORSOrigin, wc.HSTS = c.Web.CSP, c.Web.CORSOrigin, c.Web.HSTS
	wc.Site.RequireHost, wc.Site.Guests, wc.Site.BOSH = c.RequireHost, c.Auth.Guests, c.XMPP.BOSH
	wc.Site.RequireDisplayName = c.Rooms.RequireName
	wc.Site.PreferSCTP = c.Bridge.Channel != "websocket"
	wc.Site.IceRestart = c.Focus.ICERestart
	wc.Site.HiddenDomain = s.names.recorder
	wc.Site.STUNPort = c.TURN.Port
	if c.TURN.Mode == "off" {
		wc.Site.STUNPort = 0
	}
	wc.Site.NoPolls, wc.Site.NoReactions = !c.Rooms.Polls, !c.Rooms.Reactions
	wc.Site.FileSharing = web.FileSharing{On: c.Integrations.Files != "", Max: int64(c.Rooms.FileMaxSize)}
	if c.Integrations.Files != config.Builtin {
		wc.Site.FileSharing.URL = c.Integrations.Files
	}
	wc.Site.Whiteboard = c.Integrations.Whiteboard != ""
	wc.Site.VisitorQueue = s.queue != nil
	wc.Site.Etherpad = c.Integrations.Etherpad != ""
	wc.Site.Transcription = c.Transcription.URL != ""
	wc.Site.TokenAuthURL = c.Auth.JWT.LoginURL
	wc.Site.Config, wc.Site.InterfaceConfig = c.Web.Config, c.Web.InterfaceConfig
	wc.Tenants = tenantSites(c.Tenants)
	wc.Limits.ConnectionsPerIP = c.Limits.ConnectionsPerIP
	wc.Limits.RequestsPerIP, wc.Limits.RequestsBurst = float64(c.Limits.RequestsPerIP), 10*c.Limits.RequestsPerIP
	if wc.Limits.Exempt, err = prefixes(c.Limits.Exempt); err != nil {
		return wc, fmt.Errorf("limits.exempt: %w", err)
	}
	if wc.AdminAllow, err = prefixes(c.Admin.Allow); err != nil {
		return wc, fmt.Errorf("admin.allow: %w", err)
	}
	for _, k := range c.Admin.APIKeys {
		wc.AdminKeys = append(wc.AdminKeys, string(k))
	}
	wc.Log = s.logs.of("web")
	return wc, nil
}

func (s *server) openWeb() error {
	wc, err := s.webConfig(s.cfg)
	if err != nil {
		return err
	}
	if wc.Metrics, err = newRegistry(newCollector(s)); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	reserved := http.NewServeMux()
	reserved.Handle("/_/api/", s.api)
	h := web.Handlers{
		RoomInfo:          s.api.RoomInfo(),
		Reserved:          reserved,
		XMPPWebSocket:     s.sessions.WebSocketHandler(),
		ConferenceRequest: s.focus.HTTPHandler(),
		ColibriWS:         s.bridge.ChannelHandler(),
		Ready:             s.ready,
		Admin:             map[string]http.Handler{"GET /debug/bridge": debugHandler(func(ctx context.Context) any { return s.bridge.Debug(ctx) })},
	}
	for pattern, handler := range s.adminHandlers() {
		h.Admin[pattern] = handler
	}
	if s.cfg.Admin.StockPaths {
		for pattern, handler := range s.bridgeHandlers() {
			h.Admin[pattern] = handler
		}
	}
	if s.cfg.XMPP.BOSH {
		h.BOSH = s.sessions.BOSHHandler()
	}
	if s.tokens != nil {
		h.Files = s.filesHandler()
	}
	if s.queue != nil {
		h.VisitorQueue = s.queue
	}
	if s.boards != nil {
		h.SocketIO = s.boards
	} else if h.SocketIO, err = s.proxy(s.cfg.Integrations.Whiteboard, ""); err != nil {
		return err
	}
	if h.Etherpad, err = s.proxy(s.cfg.Integrations.Etherpad, "/etherpad"); err != nil {
		return err
	}
	s.web, err = web.Open(wc, s.certs, h)
	if err != nil {
		return err
	}
	s.guards.add(s.web.Guard())
	s.opened(s.web)
	return nil
}

// proxy passes requests on to a server that the configuration names; nil for none.
func (s *server) proxy(target, strip string) (http.Handler, error) {
	if target == "" {
		return nil, nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := web.NewProxy(u, strip, s.logs.of("web"))
	s.opened(p)
	return p, nil
}

// ready says why meetings can't be held; the health endpoint asks.
func (s *server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return errors.Join(s.storage.Ping(ctx), s.bridge.Ready())
}

func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return nil, err
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p)
	}
	return out, nil
}

// debugHandler shows the state of a part as JSON.
func debugHandler(state func(context.Context) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(state(r.Context())) // a reader that went away has no use for the error
	})
}
