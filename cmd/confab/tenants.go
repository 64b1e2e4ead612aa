package main

// What single tenants have of their own.

import (
	"regexp"
	"slices"
	"strings"

	"confab/muc"
	"confab/web"
	"confab/xmpp"
)

// tenantName is a tenant as it stands in addresses, between two dots: the path says
// My.Team, the address my_team (room-services.md §4.1).
var tenantName = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,62}$`)

func (c *Config) validateTenants(p *problems) {
	const key = "tenants"
	var names, hosts []string
	for i, t := range c.Tenants {
		bad := func(ok bool, what string) { p.check(ok, key, "entry %d: %s", i+1, what) }
		bad(tenantName.MatchString(t.Name), "name is no lower-case path segment without dots")
		bad(!slices.Contains(names, t.Name), "name is in the list twice")
		bad(t.MaxOccupants >= 0, "max_occupants is negative")
		names = append(names, t.Name)
		for j, h := range t.Hosts {
			t.Hosts[j] = strings.ToLower(strings.TrimSuffix(h, "."))
			bad(validDomain(t.Hosts[j]) && t.Hosts[j] != c.Domain && !slices.Contains(hosts, t.Hosts[j]), "hosts: a name is none, or somebody else's")
			hosts = append(hosts, t.Hosts[j])
		}
	}
}

func tenantSites(tenants []Tenant) (out []web.TenantSite) {
	for _, t := range tenants {
		out = append(out, web.TenantSite{Name: t.Name, Hosts: t.Hosts, Config: t.Config, InterfaceConfig: t.InterfaceConfig})
	}
	return out
}

func tenantHosts(tenants []Tenant) (out []string) {
	for _, t := range tenants {
		out = append(out, t.Hosts...)
	}
	return out
}

// tenantPolicy is what is settled about a tenant's new room.
func tenantPolicy(tenants []Tenant, tenantOf func(xmpp.JID) string, room xmpp.JID) muc.RoomPolicy {
	name := tenantOf(room)
	for _, t := range tenants {
		if t.Name == name {
			return muc.RoomPolicy{MaxOccupants: t.MaxOccupants, Lobby: t.Lobby}
		}
	}
	return muc.RoomPolicy{}
}
