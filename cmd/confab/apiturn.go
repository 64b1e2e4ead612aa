package main

// What the TURN server relays, by the HTTP interface.

import "confab/web/api"

// Allocations are those of the relay; without one there are none.
func (b apiBackend) Allocations(after uint64, limit int) (out []api.Allocation, more bool) {
	if b.s.relay == nil {
		return nil, false
	}
	list, more := b.s.relay.Allocations(after, limit)
	for _, a := range list {
		relayed := make([]string, len(a.Relayed))
		for i, r := range a.Relayed {
			relayed[i] = r.String()
		}
		out = append(out, api.Allocation{Number: a.Number, ID: a.User, Transport: a.Transport,
			Client: a.Client.String(), Server: a.Server.String(), Relayed: relayed, BeganAt: a.Began.UTC(), ExpiresAt: a.Expires.UTC(),
			Permissions: a.Permissions, Channels: a.Channels, PacketsToPeers: a.PacketsToPeers, BytesToPeers: a.BytesToPeers,
			PacketsFromPeers: a.PacketsFromPeers, BytesFromPeers: a.BytesFromPeers})
	}
	return out, more
}

func (b apiBackend) EndAllocation(number uint64) bool {
	return b.s.relay != nil && b.s.relay.EndNumber(number, "ended by the operator")
}
