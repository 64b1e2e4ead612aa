package whiteboard

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// Types of Socket.IO packets.
const (
	ioConnect      = '0'
	ioDisconnect   = '1'
	ioEvent        = '2'
	ioAck          = '3'
	ioConnectError = '4'
	ioBinaryEvent  = '5'
	ioBinaryAck    = '6'
)

// ioPacket is one of Socket.IO, still without its attachments.
type ioPacket struct {
	typ         byte
	attachments int
	namespace   string
	json        string
}

var errPacket = errors.New("malformed packet")

// maxAttachments is more than any event has.
const maxAttachments = 4

// parsePacket reads TYPE [ATTACHMENTS -] [/NAMESPACE ,] [ID] [JSON].
func parsePacket(s string) (p ioPacket, err error) {
	if s == "" || s[0] < ioConnect || s[0] > ioBinaryAck {
		return p, errPacket
	}
	p.typ, s = s[0], s[1:]
	if p.typ == ioBinaryEvent || p.typ == ioBinaryAck {
		n, rest, ok := length(s, '-')
		if !ok || n > maxAttachments {
			return p, errPacket
		}
		p.attachments, s = n, rest
	}
	p.namespace = "/"
	if strings.HasPrefix(s, "/") {
		p.namespace, s, _ = strings.Cut(s, ",")
		// A query may follow it in protocol 3.
		p.namespace, _, _ = strings.Cut(p.namespace, "?")
	}
	p.json = strings.TrimLeft(s, "0123456789") // an id asks for an acknowledgement, which nobody waits for
	return p, nil
}

// event is a named one with arguments.
type event struct {
	name string
	args []json.RawMessage
}

func parseEvent(s string) (event, error) {
	var all []json.RawMessage
	var e event
	if err := json.Unmarshal([]byte(s), &all); err != nil {
		return e, errPacket
	}
	if len(all) == 0 || json.Unmarshal(all[0], &e.name) != nil {
		return e, errPacket
	}
	e.args = all[1:]
	return e, nil
}

// text reads an argument that is a string.
func (e event) text(i int) (string, bool) {
	if i >= len(e.args) || len(e.args[i]) == 0 || e.args[i][0] != '"' {
		return "", false
	}
	var s string
	return s, json.Unmarshal(e.args[i], &s) == nil
}

// attached reports whether an argument stands for the attachment of that number.
// Others would make clients that read it give up.
func (e event) attached(i, num int) bool {
	if i >= len(e.args) {
		return false
	}
	var p struct {
		Placeholder bool `json:"_placeholder"`
		Num         *int `json:"num"`
	}
	return json.Unmarshal(e.args[i], &p) == nil && p.Placeholder && p.Num != nil && *p.Num == num
}

// message is what one or many sockets get: a packet of Socket.IO and its
// attachments. It is not changed any more.
type message struct {
	packets []packet
	size    int
}

func newMessage(text string, bins ...[]byte) *message {
	m := &message{packets: []packet{{typ: engineMessage, text: text}}, size: len(text)}
	for _, b := range bins {
		m.packets = append(m.packets, packet{typ: engineMessage, bin: b, binary: true})
		m.size += len(b)
	}
	return m
}

// newEvent encodes an event with JSON arguments.
func newEvent(name string, args ...any) *message {
	b, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		panic("whiteboard: strings and lists of them: " + err.Error())
	}
	return newMessage(string(ioEvent) + string(b))
}

// newBinaryEvent encodes an event whose arguments are bytes.
func newBinaryEvent(name string, bins ...[]byte) *message {
	var b strings.Builder
	b.WriteByte(ioBinaryEvent)
	b.WriteString(strconv.Itoa(len(bins)) + `-["` + name + `"`)
	for i := range bins {
		b.WriteString(`,{"_placeholder":true,"num":` + strconv.Itoa(i) + `}`)
	}
	b.WriteByte(']')
	return newMessage(b.String(), bins...)
}
