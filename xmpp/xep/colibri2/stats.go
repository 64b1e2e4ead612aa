package colibri2

import (
	"maps"
	"slices"
	"strconv"

	"confab/xmpp"
)

// Stats is <stats xmlns='http://jitsi.org/protocol/colibri'/> of a bridge's
// presence: name → value.
type Stats map[string]string

// Names of statistics that bridge selection reads.
const (
	StatColibri2         = "colibri2"
	StatHealthy          = "healthy"
	StatStress           = "stress_level"
	StatAverageStress    = "average_participant_stress"
	StatVersion          = "version"
	StatRelease          = "release"
	StatRegion           = "region"
	StatRelayID          = "relay_id"
	StatGracefulShutdown = "graceful_shutdown"
	StatShuttingDown     = "shutting_down"
	StatDrain            = "drain"
	StatEndpoints        = "endpoints"
)

// ParseStats reads a stats element.
func ParseStats(el *xmpp.Element) Stats {
	s := Stats{}
	for _, k := range el.Children("", "stat") {
		s[k.Get("name")] = k.Get("value")
	}
	return s
}

// Bool is true for "true" only.
func (s Stats) Bool(name string) bool { return s[name] == "true" }

// Float is the number, or def.
func (s Stats) Float(name string, def float64) float64 {
	f, err := strconv.ParseFloat(s[name], 64)
	if err != nil {
		return def
	}
	return f
}

// Encode writes s in order of names.
func (s Stats) Encode(e *xmpp.Enc) {
	e.Start("stats", NSStats)
	for _, name := range slices.Sorted(maps.Keys(s)) {
		e.Start("stat", "").Attr("name", name).Attr("value", s[name]).End()
	}
	e.End()
}

// String is s as XML.
func (s Stats) String() string {
	var e xmpp.Enc
	s.Encode(&e)
	return e.String()
}
