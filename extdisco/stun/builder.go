package stun

import (
	"encoding/binary"
	"net/netip"
)

// Builder writes one message after the other into the same buffer.
type Builder struct {
	b   []byte
	mac integrity
}

// Start begins a message. What was built before is overwritten.
func (w *Builder) Start(kind uint16, id ID) {
	w.b = append(w.b[:0], byte(kind>>8), byte(kind), 0, 0, cookie>>24, cookie>>16&0xff, cookie>>8&0xff, cookie&0xff)
	w.b = append(w.b, id[:]...)
}

// Bytes is the message, until the next Start.
func (w *Builder) Bytes() []byte { return w.b }

// length writes the header's: that of the attributes and of extra bytes to come.
func (w *Builder) length(extra int) {
	binary.BigEndian.PutUint16(w.b[2:], uint16(len(w.b)-HeaderSize+extra))
}

func (w *Builder) head(kind uint16, n int) {
	w.b = append(w.b, byte(kind>>8), byte(kind), byte(n>>8), byte(n))
}

// Add appends an attribute.
func (w *Builder) Add(kind uint16, value []byte) {
	w.head(kind, len(value))
	w.b = append(w.b, value...)
	w.pad()
}

// AddString appends one of text.
func (w *Builder) AddString(kind uint16, value string) {
	w.head(kind, len(value))
	w.b = append(w.b, value...)
	w.pad()
}

func (w *Builder) pad() {
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
	w.length(0)
}

// AddUint32 appends an attribute of four bytes.
func (w *Builder) AddUint32(kind uint16, v uint32) {
	w.head(kind, 4)
	w.b = binary.BigEndian.AppendUint32(w.b, v)
	w.length(0)
}

// AddZeros appends an attribute of n zero bytes.
func (w *Builder) AddZeros(kind uint16, n int) {
	w.head(kind, n)
	w.b = append(w.b, make([]byte, padded(n))...)
	w.length(0)
}

// AddAddress appends an address in clear (RFC 8489 §14.1).
func (w *Builder) AddAddress(kind uint16, ap netip.AddrPort) { w.address(kind, ap, false) }

// AddXORAddress appends an address XORed with cookie and id (RFC 8489 §14.2).
func (w *Builder) AddXORAddress(kind uint16, ap netip.AddrPort) { w.address(kind, ap, true) }

func (w *Builder) address(kind uint16, ap netip.AddrPort, xor bool) {
	ip := ap.Addr().Unmap()
	from := len(w.b) + attributeSize + 2
	if ip.Is4() {
		a := ip.As4()
		w.head(kind, 8)
		w.b = append(w.b, 0, FamilyIPv4, byte(ap.Port()>>8), byte(ap.Port()))
		w.b = append(w.b, a[:]...)
	} else {
		a := ip.As16()
		w.head(kind, 20)
		w.b = append(w.b, 0, FamilyIPv6, byte(ap.Port()>>8), byte(ap.Port()))
		w.b = append(w.b, a[:]...)
	}
	if xor {
		w.b[from] ^= cookie >> 24
		w.b[from+1] ^= cookie >> 16 & 0xff
		for i := range w.b[from+2:] {
			w.b[from+2+i] ^= w.b[4+i]
		}
	}
	w.length(0)
}

// AddError appends ERROR-CODE with the standard phrase.
func (w *Builder) AddError(code int) {
	r := reason(code)
	w.head(AttrErrorCode, 4+len(r))
	w.b = append(w.b, 0, 0, byte(code/100), byte(code%100))
	w.b = append(w.b, r...)
	w.pad()
}

// AddUnknown appends UNKNOWN-ATTRIBUTES.
func (w *Builder) AddUnknown(kinds []uint16) {
	w.head(AttrUnknownAttributes, 2*len(kinds))
	for _, k := range kinds {
		w.b = binary.BigEndian.AppendUint16(w.b, k)
	}
	w.pad()
}

// Sign appends MESSAGE-INTEGRITY; only FINGERPRINT may follow.
func (w *Builder) Sign(key []byte) {
	w.Add(AttrMessageIntegrity, w.mac.sum(key, w.b))
}

// Fingerprint appends FINGERPRINT, the last attribute.
func (w *Builder) Fingerprint() {
	w.length(attributeSize + 4)
	v := fingerprint(w.b)
	w.head(AttrFingerprint, 4)
	w.b = binary.BigEndian.AppendUint32(w.b, v)
}

// DataIndication writes the head of a Data indication of n bytes from peer: the data
// and up to three bytes of padding come behind it (RFC 8656 §11.4). It is false if so
// many do not fit a message.
func (w *Builder) DataIndication(id ID, peer netip.AddrPort, n int) bool {
	w.Start(Data|Indication, id)
	w.AddXORAddress(AttrXORPeerAddress, peer)
	w.head(AttrData, n)
	w.length(padded(n))
	return len(w.b)-HeaderSize+padded(n) <= 0xffff
}

// AppendChannelHeader appends the head of ChannelData of n bytes.
func AppendChannelHeader(b []byte, number uint16, n int) []byte {
	return append(b, byte(number>>8), byte(number), byte(n>>8), byte(n))
}
