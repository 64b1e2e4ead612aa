package queue

import (
	"bytes"
	"errors"
	"strings"
)

// frame is a STOMP frame (STOMP 1.2, "STOMP Frames").
type frame struct {
	command string
	headers [][2]string
	body    string
}

var errFrame = errors.New("malformed STOMP frame")

// Bounds of a client's frame.
const (
	frameBytes = 16 << 10 // with a token in it
	maxHeaders = 32
)

// parseFrame reads one frame; ok is false for a heart-beat.
func parseFrame(b []byte) (f frame, ok bool, err error) {
	if b = bytes.TrimLeft(b, "\r\n"); len(b) == 0 {
		return f, false, nil
	}
	head, body, found := bytes.Cut(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n\n"))
	if !found {
		return f, false, errFrame
	}
	if i := bytes.IndexByte(body, 0); i >= 0 {
		body = body[:i]
	}
	lines := strings.Split(string(head), "\n")
	f.command, f.body = lines[0], string(body)
	if f.command == "" || len(lines)-1 > maxHeaders {
		return f, false, errFrame
	}
	for _, l := range lines[1:] {
		k, v, found := strings.Cut(l, ":")
		if !found || k == "" {
			return f, false, errFrame
		}
		if f.command != "CONNECT" && f.command != "CONNECTED" { // these escape nothing
			k, v = unescape.Replace(k), unescape.Replace(v)
		}
		f.headers = append(f.headers, [2]string{k, v})
	}
	return f, true, nil
}

var (
	unescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\c`, ":", `\r`, "\r")
	escape   = strings.NewReplacer(`\`, `\\`, "\n", `\n`, ":", `\c`, "\r", `\r`)
)

// get is a header: of those that come twice the first counts.
func (f *frame) get(name string) string {
	for _, h := range f.headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// encode writes a frame; headers are names and values.
func encode(command, body string, headers ...string) []byte {
	var b strings.Builder
	b.WriteString(command)
	b.WriteByte('\n')
	for i := 0; i+1 < len(headers); i += 2 {
		k, v := headers[i], headers[i+1]
		if command != "CONNECTED" {
			k, v = escape.Replace(k), escape.Replace(v)
		}
		b.WriteString(k + ":" + v + "\n")
	}
	b.WriteString("\n" + body + "\x00")
	return []byte(b.String())
}
