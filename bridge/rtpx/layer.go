package rtpx

import "fmt"

// Layer names one quality of a video source: encoding (simulcast), spatial and
// temporal layer, packed as JVB does: encoding<<6 | spatial<<3 | temporal. A
// higher number is a better picture of the same source.
type Layer int32

// NoLayer means suspended: nothing of the source is wanted.
const NoLayer Layer = -1

// MakeLayer packs the three ids; negative ones count as 0.
func MakeLayer(encoding, spatial, temporal int) Layer {
	return Layer(max(encoding, 0)<<6 | max(spatial, 0)&7<<3 | max(temporal, 0)&7)
}

// Encoding is the simulcast encoding, 0 the lowest.
func (l Layer) Encoding() int { return int(l >> 6) }

// Spatial is the spatial layer inside the encoding.
func (l Layer) Spatial() int { return int(l>>3) & 7 }

// Temporal is the temporal layer inside the encoding.
func (l Layer) Temporal() int { return int(l) & 7 }

// SameSize says that two layers differ in frames per second at most.
func (l Layer) SameSize(other Layer) bool { return l>>3 == other>>3 }

// String prints E1S0T2, or "none".
func (l Layer) String() string {
	if l < 0 {
		return "none"
	}
	return fmt.Sprintf("E%dS%dT%d", l.Encoding(), l.Spatial(), l.Temporal())
}

// LayerInfo describes a layer of a source as it was signalled or measured.
type LayerInfo struct {
	ID Layer
	// Height is the smaller dimension of the picture in pixels.
	Height int
	// FPS is frames per second, 0 when unknown.
	FPS float64
	// Bitrate is bits per second of the layer with all it depends on; 0 means
	// that nothing arrived lately.
	Bitrate int64
	// Lasting is the same over the last few seconds.
	Lasting int64
	// Fresh says that it, or what it depends on, began just now: the bitrate is not
	// known yet.
	Fresh bool
}
