package alloc

import (
	"math"
	"strings"
)

// Bitrate is in bits per second.
type Bitrate int64

// Unlimited means that bandwidth does not bound the allocation.
const Unlimited Bitrate = math.MaxInt64

// VideoType says what a video source shows.
type VideoType uint8

// Video types, as in SourceVideoTypeMessage.
const (
	Camera VideoType = iota
	Desktop
	DesktopHighFPS
	None
	Disabled
)

// ParseVideoType reads a video type in upper or lower case; an unknown one is a
// camera (bridge.md §3.3).
func ParseVideoType(s string) VideoType {
	switch strings.ToLower(s) {
	case "desktop":
		return Desktop
	case "desktop_high_fps":
		return DesktopHighFPS
	case "none":
		return None
	case "disabled":
		return Disabled
	}
	return Camera
}

// String is the upper-case name that the bridge sends.
func (t VideoType) String() string {
	switch t {
	case Desktop:
		return "DESKTOP"
	case DesktopHighFPS:
		return "DESKTOP_HIGH_FPS"
	case None:
		return "NONE"
	case Disabled:
		return "DISABLED"
	}
	return "CAMERA"
}

// Enabled says whether there is a picture.
func (t VideoType) Enabled() bool { return t != None && t != Disabled }

// Constraint bounds one source for one receiver.
type Constraint struct {
	// MaxHeight bounds the smaller dimension: -1 not, 0 switches the source off.
	MaxHeight int
	// MaxFrameRate has an effect only when it is 0: off. -1 is the default.
	MaxFrameRate float64
}

// off says that the source is not wanted at all.
func (c Constraint) off() bool { return c.MaxHeight == 0 || c.MaxFrameRate == 0 }

// Height is a constraint on height alone.
func Height(h int) Constraint { return Constraint{MaxHeight: h, MaxFrameRate: -1} }

// Constraints is what a receiver asked for, merged over its messages.
type Constraints struct {
	LastN            int // -1 unlimited, 0 no video
	Selected         []string
	OnStage          []string
	Default          Constraint
	PerSource        map[string]Constraint
	AssumedBandwidth Bitrate // -1: none
}

// Message is one ReceiverVideoConstraints message: nil means absent, which
// leaves what was said before (bridge.md §7.2). PerSource replaces the whole map.
type Message struct {
	LastN            *int
	Selected         []string
	OnStage          []string
	Default          *Constraint
	PerSource        map[string]Constraint
	AssumedBandwidth *Bitrate
}

// Initial is what holds before the first message: nothing is sent, so that no
// key frames are asked for before the client can show them.
func (c Config) Initial(lastN int) Constraints {
	return Constraints{LastN: lastN, Default: Height(c.InitialMaxHeight), AssumedBandwidth: -1}
}

// Merge applies a message to what held before; first says that it is the first
// one of the session, after which the default constraint is at least the usual one.
func (c Config) Merge(old Constraints, m Message, first bool) Constraints {
	n := old
	if first {
		n.Default = Height(c.DefaultMaxHeight)
	}
	if m.LastN != nil {
		n.LastN = max(*m.LastN, -1)
	}
	if m.Selected != nil {
		n.Selected = m.Selected
	}
	if m.OnStage != nil {
		n.OnStage = m.OnStage
	}
	if m.Default != nil {
		n.Default = *m.Default
	}
	if m.PerSource != nil {
		n.PerSource = m.PerSource
	}
	if m.AssumedBandwidth != nil {
		n.AssumedBandwidth = *m.AssumedBandwidth
	}
	return n
}

// of is the constraint on a source.
func (r *Constraints) of(name string) Constraint {
	if c, ok := r.PerSource[name]; ok {
		return c
	}
	return r.Default
}
