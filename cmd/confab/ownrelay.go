package main

import (
	"confab/bridge/transport"
	"confab/extdisco/relay"
)

// ownRelay is the relay as the bridge knows it. Neither imports the other.
type ownRelay struct{ *relay.Server }

// Outlet implements transport.Relay.
func (r ownRelay) Outlet() transport.RelayOutlet { return r.Server.Outlet() }
