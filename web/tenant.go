package web

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// TenantSite is what one tenant has of its own (deployment.md §3.2): its rooms are at
// /NAME/ROOM, and at /ROOM of its host names.
type TenantSite struct {
	Name  string   // as it stands in addresses: lower case, no dots
	Hosts []string // further host names; NAME.DOMAIN is always one

	Config          map[string]any // merged over config.js
	InterfaceConfig map[string]any // merged over interface_config.js
}

// tenantOfHost is the tenant that a Host header names, or "".
func (c *Config) tenantOfHost(hostport string) string {
	if len(c.Tenants) == 0 {
		return ""
	}
	host := strings.ToLower(strings.TrimSuffix(hostOnly(hostport), "."))
	for _, t := range c.Tenants {
		if host == t.Name+"."+c.Domain || slices.Contains(t.Hosts, host) {
			return t.Name
		}
	}
	return ""
}

// tenantHosts are the host names that only tenants have.
func (c *Config) tenantHosts() (out []string) {
	for _, t := range c.Tenants {
		out = append(out, t.Hosts...)
	}
	return out
}

// site is what config.js says to the users of a tenant.
func (c *Config) site(tenant string) *Site {
	for _, t := range c.Tenants {
		if t.Name != tenant {
			continue
		}
		s := c.Site
		s.Config, s.InterfaceConfig = over(s.Config, t.Config), over(s.InterfaceConfig, t.InterfaceConfig)
		return &s
	}
	return &c.Site
}

// over is a copy of base with top merged over it.
func over(base, top map[string]any) map[string]any {
	if len(top) == 0 {
		return base
	}
	out := maps.Clone(base)
	if out == nil {
		out = object{}
	}
	for k, v := range out {
		if inner, ok := v.(map[string]any); ok {
			out[k] = over(inner, object{"": nil})
			delete(out[k].(map[string]any), "")
		}
	}
	merge(out, top)
	return out
}

// ofTenantHost makes r a request of the tenant whose host it names: the paths there
// have no tenant in front, and none is taken from them.
func (st *state) ofTenantHost(r *http.Request) *http.Request {
	tenant := st.cfg.tenantOfHost(r.Host)
	if tenant == "" {
		return r
	}
	return withPlace(r, place{tenant: tenant, byHost: true})
}
