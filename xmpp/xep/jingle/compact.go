package jingle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// CompactSources is the JSON form of sources by endpoint id
// (http://jitsi.org/json-encoded-sources). Mute state is not in it.
type CompactSources map[string]EndpointSources

// EndpointSources are the sources of one endpoint by media type.
type EndpointSources struct {
	Video       []Source
	VideoGroups []SSRCGroup
	Audio       []Source
	AudioGroups []SSRCGroup
}

type compactSource struct {
	S uint32 `json:"s"`
	N string `json:"n,omitempty"`
	M string `json:"m,omitempty"`
	V string `json:"v,omitempty"`
}

// String is the text of the json-message: {"sources":{owner:[video, video groups,
// audio, audio groups]}}, owners in order, empty arrays at the end left out.
func (s CompactSources) String() string {
	var b bytes.Buffer
	b.WriteString(`{"sources":{`)
	for i, owner := range slices.Sorted(maps.Keys(s)) {
		if i > 0 {
			b.WriteByte(',')
		}
		writeJSON(&b, owner)
		b.WriteByte(':')
		writeJSON(&b, s[owner].compact())
	}
	b.WriteString(`}}`)
	return b.String()
}

func writeJSON(b *bytes.Buffer, v any) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false) // it becomes XML text, where that is done anyway
	if err := enc.Encode(v); err != nil {
		panic("jingle: plain values do not encode: " + err.Error())
	}
	b.Truncate(b.Len() - 1) // the newline
}

func (es EndpointSources) compact() []any {
	out := []any{compactSources(es.Video), compactGroups(es.VideoGroups), compactSources(es.Audio), compactGroups(es.AudioGroups)}
	lens := [...]int{len(es.Video), len(es.VideoGroups), len(es.Audio), len(es.AudioGroups)}
	n := len(out)
	for n > 0 && lens[n-1] == 0 {
		n--
	}
	return out[:n]
}

func compactSources(srcs []Source) []compactSource {
	out := make([]compactSource, len(srcs))
	for i, s := range srcs {
		out[i] = compactSource{S: s.SSRC, N: s.Name, M: s.MSID}
		if s.VideoType == Desktop {
			out[i].V = "d"
		}
	}
	return out
}

func compactGroups(groups []SSRCGroup) [][]any {
	out := make([][]any, 0, len(groups))
	for _, g := range groups {
		row := make([]any, 0, 1+len(g.SSRCs))
		switch g.Semantics {
		case FID:
			row = append(row, "f")
		case SIM:
			row = append(row, "s")
		default:
			continue // the form has no letter for others
		}
		for _, ssrc := range g.SSRCs {
			row = append(row, ssrc)
		}
		out = append(out, row)
	}
	return out
}

// ParseCompact reads the text of a json-message that has sources. Another
// json-message gives nil and no error.
func ParseCompact(text string) (CompactSources, error) {
	var msg struct {
		Sources map[string][]json.RawMessage `json:"sources"`
	}
	if err := json.Unmarshal([]byte(text), &msg); err != nil {
		return nil, fmt.Errorf("compact sources: %w", err)
	}
	if msg.Sources == nil {
		return nil, nil
	}
	out := make(CompactSources, len(msg.Sources))
	for owner, parts := range msg.Sources {
		var es EndpointSources
		for i, raw := range parts {
			var err error
			switch i {
			case 0:
				es.Video, err = readSources(raw, owner)
			case 1:
				es.VideoGroups, err = readGroups(raw)
			case 2:
				es.Audio, err = readSources(raw, owner)
			case 3:
				es.AudioGroups, err = readGroups(raw)
			}
			if err != nil {
				return nil, fmt.Errorf("compact sources: %w", err)
			}
		}
		out[owner] = es
	}
	return out, nil
}

func readSources(raw json.RawMessage, owner string) ([]Source, error) {
	var in []struct {
		S json.Number `json:"s"`
		N string      `json:"n"`
		M string      `json:"m"`
		V any         `json:"v"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	out := make([]Source, len(in))
	for i, s := range in {
		out[i] = Source{SSRC: parseSSRC(s.S.String()), Name: s.N, MSID: s.M, Owner: owner}
		switch v := s.V.(type) { // any truthy value means desktop
		case nil:
		case bool:
			if v {
				out[i].VideoType = Desktop
			}
		case string:
			if v != "" {
				out[i].VideoType = Desktop
			}
		case float64:
			if v != 0 {
				out[i].VideoType = Desktop
			}
		default:
			out[i].VideoType = Desktop
		}
	}
	return out, nil
}

func readGroups(raw json.RawMessage) ([]SSRCGroup, error) {
	var in [][]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&in); err != nil {
		return nil, err
	}
	var out []SSRCGroup
	for _, row := range in {
		if len(row) == 0 {
			continue
		}
		g := SSRCGroup{}
		switch row[0] {
		case "f":
			g.Semantics = FID
		case "s":
			g.Semantics = SIM
		default:
			return nil, fmt.Errorf("unknown group %v", row[0])
		}
		for _, v := range row[1:] {
			n, ok := v.(json.Number)
			if !ok {
				return nil, fmt.Errorf("group member %v is no number", v)
			}
			g.SSRCs = append(g.SSRCs, parseSSRC(n.String()))
		}
		out = append(out, g)
	}
	return out, nil
}
