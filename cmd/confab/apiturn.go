package main

// What the TURN server relays, by the HTTP interface.

import "confab/web/api"

// apiRelay is the relay as the HTTP interface shows it. It may be off.
type apiRelay struct{ s *server }

func (r apiRelay) Allocations(after uint64, limit int) (out []api.Allocation, more bool) {
	if r.s.relay == nil {
		return nil, false
	}
	list, more := r.s.relay.Allocations(after, limit)
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

func (r apiRelay) EndAllocation(number uint64) bool {
	return r.s.relay != nil && r.s.relay.EndNumber(number, "ended by the operator")
}
