package whiteboard

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Types of Engine.IO packets.
const (
	engineOpen    = '0'
	engineClose   = '1'
	enginePing    = '2'
	enginePong    = '3'
	engineMessage = '4'
	engineUpgrade = '5'
	engineNoop    = '6'
)

// packet is one of Engine.IO. A binary one is a message.
type packet struct {
	typ    byte
	text   string
	bin    []byte
	binary bool
}

// maxPackets is more than a client sends at once.
const maxPackets = 4096

var errPayload = errors.New("malformed payload")

// separator stands between packets in a payload of protocol 4.
const separator = "\x1e"

// decodePayload reads the body of a POST. raw says that it came as
// application/octet-stream, which only clients of protocol 3 send.
func decodePayload(version int, raw bool, body []byte) ([]packet, error) {
	switch {
	case version == 4 && !raw:
		return decodePayload4(string(body))
	case version == 3 && raw:
		return decodeBinary3(body)
	case version == 3:
		return decodeText3(string(body))
	}
	return nil, errPayload
}

func decodePayload4(s string) (out []packet, err error) {
	for part := range strings.SplitSeq(s, separator) {
		p, err := decodeText(part, 4)
		if err != nil || len(out) == maxPackets {
			return nil, errPayload
		}
		out = append(out, p)
	}
	return out, nil
}

// decodeText reads one packet in text form.
func decodeText(s string, version int) (packet, error) {
	if b64, ok := strings.CutPrefix(s, "b"); ok {
		if version == 3 { // the type follows
			if b64 == "" || b64[0] != engineMessage {
				return packet{}, errPayload
			}
			b64 = b64[1:]
		}
		bin, err := base64.StdEncoding.DecodeString(b64)
		if err != nil {
			return packet{}, errPayload
		}
		return packet{typ: engineMessage, bin: bin, binary: true}, nil
	}
	if s == "" || s[0] < engineOpen || s[0] > engineNoop || !utf8.ValidString(s) {
		return packet{}, errPayload
	}
	return packet{typ: s[0], text: s[1:]}, nil
}

// decodeText3 reads LENGTH:PACKET…, where lengths are those of JavaScript.
func decodeText3(s string) (out []packet, err error) {
	for s != "" {
		n, rest, ok := length(s, ':')
		if !ok {
			return nil, errPayload
		}
		end := units(rest, n)
		if end < 0 {
			return nil, errPayload
		}
		p, err := decodeText(rest[:end], 3)
		if err != nil || len(out) == maxPackets {
			return nil, errPayload
		}
		out, s = append(out, p), rest[end:]
	}
	if out == nil {
		return nil, errPayload
	}
	return out, nil
}

// length reads decimal digits up to end.
func length(s string, end byte) (n int, rest string, ok bool) {
	i := strings.IndexByte(s, end)
	if i <= 0 || i > 9 || strings.Trim(s[:i], "0123456789") != "" {
		return 0, "", false
	}
	n, err := strconv.Atoi(s[:i])
	return n, s[i+1:], err == nil
}

// units is how many bytes of s are n UTF-16 units, or -1.
func units(s string, n int) int {
	i := 0
	for n > 0 && i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		n -= utf16.RuneLen(r)
		i += size
	}
	if n != 0 {
		return -1
	}
	return i
}

// decodeBinary3 reads 0 or 1, for text or bytes, the digits of the length as
// numbers, 255, and so many bytes.
func decodeBinary3(b []byte) (out []packet, err error) {
	for len(b) > 0 {
		kind := b[0]
		end := bytes.IndexByte(b, 255)
		if kind > 1 || end < 2 || end > 10 {
			return nil, errPayload
		}
		n := 0
		for _, d := range b[1:end] {
			if d > 9 {
				return nil, errPayload
			}
			n = 10*n + int(d)
		}
		b = b[end+1:]
		if n > len(b) || n == 0 || len(out) == maxPackets {
			return nil, errPayload
		}
		var p packet
		if kind == 1 {
			if p, err = decodeFrame(b[:n], 3); err != nil {
				return nil, err
			}
		} else if p, err = decodeText(string(b[:n]), 3); err != nil {
			return nil, err
		}
		out, b = append(out, p), b[n:]
	}
	if out == nil {
		return nil, errPayload
	}
	return out, nil
}

// decodeFrame reads a binary WebSocket frame: in protocol 3 the type, as a number,
// comes first.
func decodeFrame(b []byte, version int) (packet, error) {
	if version == 3 {
		if len(b) == 0 || b[0] != engineMessage-'0' {
			return packet{}, errPayload
		}
		b = b[1:]
	}
	return packet{typ: engineMessage, bin: bytes.Clone(b), binary: true}, nil
}

// encodePayload is the answer to a GET, text in both protocols.
func encodePayload(version int, packets []packet) []byte {
	var b []byte
	for i, p := range packets {
		if version == 4 {
			if i > 0 {
				b = append(b, separator...)
			}
			b = p.appendText(b, version)
			continue
		}
		text := p.appendText(nil, version)
		n := 0
		for _, r := range string(text) {
			n += utf16.RuneLen(r)
		}
		b = append(strconv.AppendInt(b, int64(n), 10), ':')
		b = append(b, text...)
	}
	return b
}

// appendText is the text form of a packet.
func (p packet) appendText(b []byte, version int) []byte {
	if !p.binary {
		return append(append(b, p.typ), p.text...)
	}
	b = append(b, 'b')
	if version == 3 {
		b = append(b, engineMessage)
	}
	return base64.StdEncoding.AppendEncode(b, p.bin)
}

// frame is the WebSocket form of a packet.
func (p packet) frame(version int) (b []byte, binary bool) {
	switch {
	case !p.binary:
		return p.appendText(nil, version), false
	case version == 3:
		return append([]byte{engineMessage - '0'}, p.bin...), true
	}
	return p.bin, true
}
