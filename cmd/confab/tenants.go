package main

// What single tenants have of their own.

import (
	"confab/cmd/confab/config"
	"confab/muc"
	"confab/web"
	"confab/xmpp"
)

func tenantSites(tenants []config.Tenant) (out []web.TenantSite) {
	for _, t := range tenants {
		out = append(out, web.TenantSite{Name: t.Name, Hosts: t.Hosts, Config: t.Config, InterfaceConfig: t.InterfaceConfig})
	}
	return out
}

// tenantPolicy is what is settled about a tenant's new room.
func tenantPolicy(tenants []config.Tenant, tenantOf func(xmpp.JID) string, room xmpp.JID) muc.RoomPolicy {
	name := tenantOf(room)
	for _, t := range tenants {
		if t.Name == name {
			return muc.RoomPolicy{MaxOccupants: t.MaxOccupants, Lobby: t.Lobby}
		}
	}
	return muc.RoomPolicy{}
}
