package channel

import "encoding/json"

// encode marshals a message; its fields are ours, so that can't fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("bridge channel: " + err.Error())
	}
	return b
}

// ServerHello greets a client on a WebSocket.
func ServerHello() []byte {
	return encode(struct {
		Class string `json:"colibriClass"`
	}{classServerHello})
}

// SenderConstraints tells an owner how large its source is wanted at most: -1
// without limit, 0 not at all. LJM rejects the message unless both fields have
// exactly these types.
func SenderConstraints(source string, maxHeight int) []byte {
	return encode(struct {
		Class     string `json:"colibriClass"`
		Source    string `json:"sourceName"`
		MaxHeight int    `json:"maxHeight"`
	}{classSenderSource, source, maxHeight})
}

// SenderVideoConstraints is SenderConstraints for clients of December 2021,
// which have one video source.
func SenderVideoConstraints(maxHeight int) []byte {
	type ideal struct {
		Height int `json:"idealHeight"`
	}
	return encode(struct {
		Class       string `json:"colibriClass"`
		Constraints ideal  `json:"videoConstraints"`
	}{classSenderVideo, ideal{maxHeight}})
}

// ForwardedSources lists the video sources that the receiver gets now.
func ForwardedSources(names []string) []byte {
	return encode(struct {
		Class   string   `json:"colibriClass"`
		Sources []string `json:"forwardedSources"`
	}{classForwardedSources, nonNil(names)})
}

// LastNEndpoints is ForwardedSources for clients of December 2021.
func LastNEndpoints(ids []string) []byte {
	return encode(struct {
		Class string   `json:"colibriClass"`
		IDs   []string `json:"lastNEndpoints"`
	}{classLastNEndpoints, nonNil(ids)})
}

// Transcript is a result of a service that transcribes, a JSON object, as from an
// endpoint that nobody is.
func Transcript(result []byte) []byte {
	return encode(struct {
		Class   string          `json:"colibriClass"`
		To      string          `json:"to"`
		From    string          `json:"from"`
		Payload json.RawMessage `json:"msgPayload"`
	}{classEndpointMessage, "", "transcriber", result})
}

// ConnectionStats tells how many bits a second the network to the client carries.
func ConnectionStats(bps int64) []byte {
	return encode(struct {
		Class string `json:"colibriClass"`
		BPS   int64  `json:"estimatedDownlinkBandwidth"`
	}{classConnectionStats, bps})
}

// SyntheticSending tells that a source which a service makes begins or ends, at an RTP
// timestamp of its own.
func SyntheticSending(source string, on bool, ts uint32) []byte {
	return encode(struct {
		Class   string `json:"colibriClass"`
		Source  string `json:"sourceName"`
		Sending bool   `json:"sending"`
		TS      uint32 `json:"timestamp"`
	}{classSyntheticSending, source, on, ts})
}

// DominantSpeaker announces who speaks and who spoke before, latest first.
func DominantSpeaker(id string, previous []string) []byte {
	return encode(struct {
		Class    string   `json:"colibriClass"`
		ID       string   `json:"dominantSpeakerEndpoint"`
		Previous []string `json:"previousSpeakers"`
		Silence  bool     `json:"silence"`
	}{classDominantSpeaker, id, nonNil(previous), false})
}

// Connectivity says whether an endpoint's packets reach the bridge. active is a
// string on the wire; a JSON boolean would be read as false.
func Connectivity(endpoint string, active bool) []byte {
	s := "false"
	if active {
		s = "true"
	}
	return encode(struct {
		Class    string `json:"colibriClass"`
		Endpoint string `json:"endpoint"`
		Active   string `json:"active"`
	}{classConnectivity, endpoint, s})
}

// Mapped says under which SSRCs a client that takes part in SSRC rewriting gets a
// source (bridge.md §7.7).
type Mapped struct {
	Source    string `json:"source"`
	Owner     string `json:"owner"`
	SSRC      uint32 `json:"ssrc"`
	RTX       uint32 `json:"rtx,omitempty"`       // of video
	VideoType string `json:"videoType,omitempty"` // of video, in upper case
	Mid       string `json:"mid,omitempty"`
}

// VideoSources tells new mappings of video; those of which it says nothing stay.
func VideoSources(list []Mapped) []byte { return sourcesMap(classVideoSources, list) }

// AudioSources is VideoSources for audio.
func AudioSources(list []Mapped) []byte { return sourcesMap(classAudioSources, list) }

func sourcesMap(class string, list []Mapped) []byte {
	return encode(struct {
		Class  string   `json:"colibriClass"`
		Mapped []Mapped `json:"mappedSources"`
	}{class, list})
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
