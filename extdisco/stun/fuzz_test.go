package stun

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"net/netip"
	"testing"

	pion "github.com/pion/stun/v4"
)

// theirs is MESSAGE-INTEGRITY as package hmac computes it.
func theirs(t testing.TB, m Message, key []byte) []byte {
	t.Helper()
	at := HeaderSize
	for {
		kind, _, after := m.next(at)
		if kind == AttrMessageIntegrity {
			break
		}
		at = after
	}
	b := bytes.Clone(m[:at])
	binary.BigEndian.PutUint16(b[2:], uint16(at-HeaderSize+attributeSize+sha1.Size))
	mac := hmac.New(sha1.New, key)
	mac.Write(b)
	return mac.Sum(nil)
}

// seeds are real messages: of RFC 5769, and what clients of TURN send.
func seeds(t testing.TB) (out [][]byte) {
	for _, s := range []string{sampleRequest, sampleIPv4, sampleIPv6, sampleLongTerm} {
		out = append(out, unhex(t, s))
	}
	var w Builder
	for _, f := range []func(){
		func() { w.Start(Binding, ID{1}) },
		func() {
			w.Start(Allocate, ID{2})
			w.AddUint32(AttrRequestedTransport, TransportUDP<<24)
			w.Fingerprint()
		},
		func() {
			w.Start(CreatePermission, ID{3})
			w.AddXORAddress(AttrXORPeerAddress, netip.MustParseAddrPort("192.0.2.1:0"))
			w.AddXORAddress(AttrXORPeerAddress, netip.MustParseAddrPort("[2001:db8::1]:0"))
			w.AddString(AttrUsername, "1795380000:k3v9")
			w.AddString(AttrRealm, "meet.example")
			w.AddString(AttrNonce, "0123456789abcdef01234567")
			w.Sign([]byte("key"))
			w.AddUint32(0x7777, 1)
			w.Fingerprint()
		},
		func() {
			w.Start(Send|Indication, ID{4})
			w.AddXORAddress(AttrXORPeerAddress, netip.MustParseAddrPort("192.0.2.1:5000"))
			w.AddString(AttrData, "hello")
		},
		func() { w.Start(Allocate|Error, ID{5}); w.AddError(420); w.AddUnknown([]uint16{0x7777}) },
	} {
		f()
		out = append(out, bytes.Clone(w.Bytes()))
	}
	return append(out, []byte("\x40\x01\x00\x05hello\x00\x00\x00"), []byte("GET / HTTP/1.1\r\n\r\n"))
}

// FuzzAgainstPion: a message that both accept means the same to both, and all that is
// accepted here is accepted there.
func FuzzAgainstPion(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b, []byte("key"))
	}
	f.Add(unhex(f, sampleRequest), []byte(samplePassword))
	f.Fuzz(func(t *testing.T, b, key []byte) {
		m, ok := Parse(b)
		other := &pion.Message{Raw: bytes.Clone(b)}
		if err := other.Decode(); err != nil {
			if ok {
				t.Fatalf("% x: %v", b, err)
			}
			return
		}
		if !ok {
			return // pion takes what has something behind it, for example
		}
		if got := other.TransactionID; got != m.ID() {
			t.Errorf("id %x, pion: %x", m.ID(), got)
		}
		if got := pion.NewType(pion.Method(m.Method()&0xf|m.Method()&0xe0>>1|m.Method()&0x3e00>>2), pion.MessageClass(m.Class()>>4&1|m.Class()>>7&2)); got != other.Type {
			t.Errorf("type %#x is %v, pion: %v", m.Type(), got, other.Type)
		}
		if sha256(m) {
			return // RFC 8489 §14.6 is not known here: there what follows is not found
		}
		kinds := []uint16{AttrUsername, AttrFingerprint, 0xffff}
		for at := HeaderSize; at < len(m); {
			kind, _, after := m.next(at)
			kinds = append(kinds, kind)
			at = after
		}
		for _, kind := range kinds {
			if kind == 0x0020 || kind == 0x8020 {
				continue // two names of XOR-MAPPED-ADDRESS there
			}
			v, has := m.Get(kind)
			w, err := other.Get(pion.AttrType(kind))
			if has != (err == nil) || !bytes.Equal(v, w) {
				t.Errorf("attribute %#x: % x %v, pion: % x %v", kind, v, has, w, err)
			}
		}
		if v, has := m.Get(AttrXORPeerAddress); has {
			var theirs pion.XORMappedAddress
			ap, ok := m.Address(v)
			if err := theirs.GetFromAs(other, pion.AttrXORPeerAddress); err == nil && ok {
				ip, _ := netip.AddrFromSlice(theirs.IP)
				if want := netip.AddrPortFrom(ip.Unmap(), uint16(theirs.Port)); netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()) != want {
					t.Errorf("peer %s, pion: %s", ap, want)
				}
			}
		}
		var w Builder
		if signed := m.Signed(key, &w); m.Has(AttrMessageIntegrity) && signed != (pion.MessageIntegrity(key).Check(other) == nil) {
			t.Errorf("signed with %x: %v", key, signed)
		}
		if present, valid := m.Fingerprinted(); present && valid && pion.Fingerprint.Check(other) != nil {
			t.Error("fingerprint")
		}
	})
}

// sha256 reports whether the message has MESSAGE-INTEGRITY-SHA256.
func sha256(m Message) bool {
	for at := HeaderSize; at < len(m); {
		kind, _, after := m.next(at)
		if kind == 0x001c {
			return true
		}
		at = after
	}
	return false
}

// FuzzParse: nothing that is asked of any bytes panics, and what is found lies within.
func FuzzParse(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := Parse(b)
		if !ok {
			return
		}
		total := HeaderSize
		covered := true
		for at := HeaderSize; at < len(m); {
			k, v, after := m.next(at)
			total += attributeSize + padded(len(v))
			if covered = covered && k != AttrMessageIntegrity; covered {
				first, found := m.Get(k)
				if !found || !m.Has(k) {
					t.Fatalf("attribute %#x is not found", k)
				}
				m.Uint32(k)
				m.Address(first)
			}
			at = after
		}
		if total != len(b) {
			t.Fatalf("%d of %d bytes are attributes", total, len(b))
		}
		if n := len(m.Unknown(nil)); n > maxUnknown {
			t.Fatalf("%d unknown attributes", n)
		}
		m.ErrorCode()
		m.Fingerprinted()
		var w Builder
		if m.Signed([]byte("key"), &w) {
			if v, _ := m.Get(AttrMessageIntegrity); !bytes.Equal(v, theirs(t, m, []byte("key"))) {
				t.Fatal("signed by nobody")
			}
		}
	})
}

// FuzzAddress: an address that is decoded is encoded to the same value.
func FuzzAddress(f *testing.F) {
	f.Add([]byte("\x00\x01\xa1\x47\xe1\x12\xa6\x43"), []byte("transaction!"))
	f.Add([]byte("\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"), []byte("transaction!"))
	f.Fuzz(func(t *testing.T, value, id []byte) {
		if len(id) != len(ID{}) {
			return
		}
		var w Builder
		w.Start(Binding, ID(id))
		w.Add(AttrXORPeerAddress, value[:min(len(value), 100)])
		m := parse(t, w.Bytes())
		v, _ := m.Get(AttrXORPeerAddress)
		ap, ok := m.Address(v)
		if !ok || ap.Addr().Is4In6() { // those are written as IPv4
			return
		}
		var again Builder
		again.Start(Binding, ID(id))
		again.AddXORAddress(AttrXORPeerAddress, ap)
		got, _ := parse(t, again.Bytes()).Get(AttrXORPeerAddress)
		if !bytes.Equal(got[1:], v[1:]) { // the first byte is ignored (RFC 8489 §14.1)
			t.Fatalf("%s: % x, from % x", ap, got, v)
		}
	})
}

// FuzzFrames: what FrameSize cuts out of a stream, the parsers take or leave whole.
func FuzzFrames(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) >= 4 {
			n := FrameSize(b)
			if n == 0 || n > len(b) {
				return
			}
			if n < ChannelHeaderSize || n%4 != 0 {
				t.Fatalf("frame of %d bytes", n)
			}
			frame := b[:n]
			if frame[0]>>6 == 1 {
				_, data, ok := ParseChannelData(frame)
				if !ok || padded(len(data)) != n-ChannelHeaderSize {
					t.Fatalf("%d bytes of a frame of %d", len(data), n)
				}
			} else if m, ok := Parse(frame); ok && len(m) != n {
				t.Fatal("not the whole frame")
			}
			b = b[n:]
		}
	})
}
