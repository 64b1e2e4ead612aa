package srtp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	pion "github.com/pion/srtp/v3"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// RFC 3711 appendix B.3.
func TestKeyDerivation(t *testing.T) {
	t.Parallel()
	master, err := aes.NewCipher(unhex("e1f97a0d3e018be0d64fa32c06de4139"))
	if err != nil {
		t.Fatal(err)
	}
	salt := unhex("0ec675ad498afeebb6960b3aabe6")
	for label, want := range map[byte]string{
		labelKey:  "c61e7a93744f39ee10734afe3ff7a087",
		labelSalt: "30cbbc08863d8c85d49db34a9ae1",
		labelAuth: "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbce",
	} {
		out := make([]byte, len(want)/2)
		derive(out, master, salt, label)
		if hex.EncodeToString(out) != want {
			t.Errorf("label %d: %x, want %s", label, out, want)
		}
	}
}

// RFC 7714 §16.1: the session keys are given, not derived.
func TestGCMVector(t *testing.T) {
	t.Parallel()
	block, err := aes.NewCipher(unhex("000102030405060708090a0b0c0d0e0f"))
	if err != nil {
		t.Fatal(err)
	}
	c := &crypt{}
	copy(c.salt[:], unhex("517569642070726f2071756f"))
	if c.aead, err = cipher.NewGCM(block); err != nil {
		t.Fatal(err)
	}
	plain := append(unhex("8040f17b8041f8d35501a0b2"), "Gallia est omnis divisa in partes tres"...)
	b := append(make([]byte, 0, 100), plain...)
	got := c.seal(b, 12, 0x5501a0b2, 0xf17b)
	want := "8040f17b8041f8d35501a0b2" +
		"f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833" +
		"899d7f27beb16a9152cf765ee4390cce"
	if hex.EncodeToString(got) != want {
		t.Errorf("sealed %x, want %s", got, want)
	}
	if back, ok := c.open(got, 12, 0x5501a0b2, 0xf17b); !ok || !bytes.Equal(back, plain) {
		t.Errorf("opened %x %v", back, ok)
	}
}

// RFC 3711 appendix B.2: the first blocks of an AES-CM key stream.
func TestCounterModeVector(t *testing.T) {
	t.Parallel()
	block, err := aes.NewCipher(unhex("2b7e151628aed2a6abf7158809cf4f3c"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := newCounterMode(block, [16]byte(unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000")), make([]byte, 20))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 0xff02*16)
	m.xor(b, 0, 0)
	for at, want := range map[int]string{
		0:           "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0",
		0xfeff * 16: "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae6a2cc3787889374fbeb4c81b17ba6c44",
	} {
		if got := hex.EncodeToString(b[at : at+48]); got != want {
			t.Errorf("block %#x: %s, want %s", at/16, got, want)
		}
	}
}

var profiles = []Profile{AES128GCM, AES128CMSHA1, AES256GCM}

func keys(p Profile) (key, salt []byte) {
	k, s, _ := p.sizes()
	key, salt = make([]byte, k), make([]byte, s)
	for i := range key {
		key[i] = byte(i * 7)
	}
	for i := range salt {
		salt[i] = byte(200 - i)
	}
	return key, salt
}

const replay = 512

func pair(t testing.TB, p Profile) (*Encrypter, *Decrypter) {
	key, salt := keys(p)
	e, err := NewEncrypter(p, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDecrypter(p, key, salt, replay, 64)
	if err != nil {
		t.Fatal(err)
	}
	return e, d
}

func oracle(t testing.TB, p Profile) *pion.Context {
	key, salt := keys(p)
	c, err := pion.CreateContext(key, salt, pion.ProtectionProfile(p), pion.SRTPReplayProtection(replay))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// packet is an RTP packet with some CSRCs and header extension.
func packet(ssrc uint32, seq uint16, csrcs, ext, payload int) []byte {
	b := make([]byte, 12+4*csrcs, 2000)
	b[0], b[1] = 0x80|byte(csrcs), 96
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	if ext > 0 {
		b[0] |= 0x10
		b = append(b, 0xBE, 0xDE, 0, byte(ext))
		b = append(b, make([]byte, 4*ext)...)
	}
	for i := range payload {
		b = append(b, byte(i*int(seq)))
	}
	return b
}

func seqOf(b []byte) uint16 { return binary.BigEndian.Uint16(b[2:]) }

// What we encrypt is byte for byte what pion makes, and each reads the other:
// several streams, wraps, all kinds of headers and lengths.
func TestSameAsPion(t *testing.T) {
	t.Parallel()
	for _, p := range profiles {
		t.Run(fmt.Sprintf("%#x", uint16(p)), func(t *testing.T) {
			t.Parallel()
			e, d := pair(t, p)
			out, in := oracle(t, p), oracle(t, p)
			rnd := rand.New(rand.NewPCG(1, uint64(p)))
			seqs := map[uint32]uint16{1: 0, 2: 65000, 0: 40000}
			for i := range 4000 {
				ssrc := uint32(rnd.IntN(3))
				seqs[ssrc] += uint16(1 + rnd.IntN(150)) // some 100 turns
				plain := packet(ssrc, seqs[ssrc], rnd.IntN(16)*(i%2), rnd.IntN(10), rnd.IntN(1400))
				theirs, err := out.EncryptRTP(nil, plain, nil)
				if err != nil {
					t.Fatal(err)
				}
				b := append(make([]byte, 0, len(plain)+Overhead), plain...)
				ours, err := e.Encrypt(b)
				if err != nil || !bytes.Equal(ours, theirs) {
					t.Fatalf("packet %d of %d: %v\n%x, pion makes\n%x", seqOf(plain), ssrc, err, ours, theirs)
				}
				if &ours[0] != &b[0] {
					t.Fatal("not in place")
				}
				if back, err := in.DecryptRTP(nil, ours, nil); err != nil || !bytes.Equal(back, plain) {
					t.Fatalf("pion reads %x: %v", back, err)
				}
				if back, ok := d.Decrypt(theirs); !ok || !bytes.Equal(back, plain) {
					t.Fatalf("packet %d of %d: we read %x, %v", seqOf(plain), ssrc, back, ok)
				}
			}
		})
	}
}

// Packets that come late, twice or not at all, across wraps, are taken or
// refused as pion does.
func TestReorderedAndReplayedAsPion(t *testing.T) {
	t.Parallel()
	for _, p := range profiles {
		e, d := pair(t, p)
		in := oracle(t, p)
		rnd := rand.New(rand.NewPCG(2, uint64(p)))
		var wire [][]byte
		for i := range 70000 / 20 {
			b, err := e.Encrypt(packet(7, uint16(64000+20*i+rnd.IntN(20)), 0, 1, 20))
			if err != nil {
				t.Fatal(err)
			}
			wire = append(wire, b)
		}
		taken := 0
		for i := range wire {
			for range 2 {
				k := max(0, min(len(wire)-1, i-rnd.IntN(40)*rnd.IntN(2)))
				_, err := in.DecryptRTP(nil, append([]byte(nil), wire[k]...), nil)
				_, ok := d.Decrypt(append([]byte(nil), wire[k]...))
				if ok != (err == nil) {
					t.Fatalf("profile %#x packet %d at %d: we say %v, pion %v", uint16(p), k, i, ok, err)
				}
				if ok {
					taken++
				}
			}
		}
		if taken < len(wire)/2 || taken > len(wire) {
			t.Errorf("%d of %d taken", taken, len(wire))
		}
	}
}

// A packet is sent again as the very same bytes, also from before a wrap.
func TestSentAgain(t *testing.T) {
	t.Parallel()
	for _, p := range profiles {
		e, _ := pair(t, p)
		encrypt := func(seq uint16) []byte {
			b, err := e.Encrypt(packet(3, seq, 0, 1, 50))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		encrypt(40000)
		first := encrypt(65530)
		for seq := uint16(65531); seq != 300; seq++ {
			encrypt(seq)
		}
		if again := encrypt(65530); !bytes.Equal(first, again) {
			t.Errorf("profile %#x: sent again differently", uint16(p))
		}
		if !bytes.Equal(encrypt(301), encrypt(301)) {
			t.Error("the next is not the next")
		}
	}
}

// A number from before the beginning would throw receivers off their count.
func TestNothingBeforeTheBeginning(t *testing.T) {
	t.Parallel()
	e, _ := pair(t, AES128GCM)
	if _, err := e.Encrypt(packet(1, 5, 0, 0, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Encrypt(packet(1, 65530, 0, 0, 10)); err != ErrIndex {
		t.Errorf("packet 65530 after 5: %v", err)
	}
	if _, err := e.Encrypt(packet(1, 4, 0, 0, 10)); err != nil {
		t.Error(err)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	w := window{bits: make([]uint64, 3)} // 128 and a word
	for _, step := range []struct {
		index uint64
		fresh bool
	}{
		{1000, true}, {1000, false}, {999, true}, {873, true}, {872, false}, {1001, true}, {873, false},
		{1128, true}, {1001, false}, {1000, false}, {1002, true}, {1127, true}, {1127, false},
		{5000, true}, {4999, true}, {4873, true}, {4872, false}, {1 << 47, true}, {1<<47 - 1, true}, {5000, false},
	} {
		got := w.fresh(step.index)
		if got != step.fresh {
			t.Fatalf("index %d is fresh: %v", step.index, got)
		}
		if got {
			w.accept(step.index)
		}
	}
}

func TestGuess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		highest uint64
		seq     uint16
		want    uint64
	}{
		{0, 65535, 65535}, {median, 65535, 65535}, {median + 1, 0, 65536}, {median + 1, 1, 1}, {65535, 0, 65536}, {65535, 32766, 65536 + 32766},
		{65535, 32767, 32767}, {65536 + 5, 65530, 65530}, {65536 + 5, 32774, 32774}, {65536 + 5, 32773, 65536 + 32773},
		{5<<16 | 60000, 10, 6<<16 | 10}, {6<<16 | 10, 60000, 5<<16 | 60000},
	} {
		if got := guess(c.highest, c.seq); got != c.want {
			t.Errorf("%d after %d: %d, want %d", c.seq, c.highest, got, c.want)
		}
	}
}

// Forged packets of new SSRCs leave nothing behind; true ones count, and beyond the
// limit take the place of those not heard for longest.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	for _, p := range profiles {
		e, d := pair(t, p)
		for ssrc := range uint32(1000) {
			b := append(packet(ssrc, 1, 0, 0, 30), make([]byte, 16)...)
			if _, ok := d.Decrypt(b); ok {
				t.Fatal("a forgery was taken")
			}
		}
		if d.Streams() != 0 {
			t.Fatalf("%d streams of forgeries", d.Streams())
		}
		for ssrc := range uint32(70) {
			b, err := e.Encrypt(packet(ssrc, 1, 0, 0, 30))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := d.Decrypt(b); !ok {
				t.Errorf("SSRC %d of 64", ssrc)
			}
		}
		if d.Streams() != 64 {
			t.Errorf("%d streams", d.Streams())
		}
		for ssrc := uint32(70); ; ssrc++ {
			b, err := e.Encrypt(packet(ssrc, 1, 0, 0, 30))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := d.Decrypt(b); !ok {
				if ssrc != 64*(pastFactor+1) {
					t.Errorf("SSRC %d is one too many", ssrc)
				}
				break
			}
		}
	}
}

// A stream that gave its state to others goes on where it was, over the wrap of its
// sequence numbers, and nothing of it can be replayed.
func TestStreamComesBack(t *testing.T) {
	t.Parallel()
	for _, p := range profiles {
		e, d := pair(t, p)
		send := func(ssrc uint32, seq uint16) []byte {
			b, err := e.Encrypt(packet(ssrc, seq, 0, 0, 30))
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Clone(b)
		}
		take := func(b []byte) bool {
			_, ok := d.Decrypt(bytes.Clone(b))
			return ok
		}
		var old [][]byte
		for seq := 65000; seq < 65536+500; seq++ {
			old = append(old, send(7, uint16(seq)))
			if !take(old[len(old)-1]) {
				t.Fatalf("packet %d", seq)
			}
		}
		others := func() {
			for ssrc := range uint32(64) {
				if !take(send(1000+ssrc, uint16(e.streams[1000+ssrc].next()))) {
					t.Fatalf("SSRC %d", 1000+ssrc)
				}
			}
		}
		for range 3 {
			others()
			if d.streams[7] != nil {
				t.Fatal("it still has state")
			}
			for _, b := range old {
				if take(b) {
					t.Fatal("a replay")
				}
			}
			var next [][]byte
			for range 5 {
				next = append(next, send(7, uint16(e.streams[7].next())))
			}
			for _, i := range []int{0, 2, 1, 4, 3} { // as before, also in another order
				if !take(next[i]) || take(next[i]) {
					t.Fatalf("packet %d after it came back", i)
				}
			}
			old = append(old, next...)
		}
	}
}

// next is the sequence number behind the newest.
func (s *outgoing) next() uint64 {
	if s == nil {
		return 1
	}
	return s.highest + 1
}

// Every bit of a packet is protected.
func TestEveryBitCounts(t *testing.T) {
	t.Parallel()
	for _, p := range profiles {
		e, d := pair(t, p)
		b, err := e.Encrypt(packet(1, 1, 1, 1, 5))
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(b) * 8 {
			c := append([]byte(nil), b...)
			c[bit/8] ^= 1 << (bit % 8)
			if _, ok := d.Decrypt(c); ok {
				t.Errorf("profile %#x: bit %d", uint16(p), bit)
			}
		}
		if _, ok := d.Decrypt(append([]byte(nil), b[:len(b)-1]...)); ok {
			t.Error("cut short")
		}
		if _, ok := d.Decrypt(b); !ok {
			t.Error("the true one")
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	if _, err := NewEncrypter(2, nil, nil); err == nil {
		t.Error("unknown profile")
	}
	if _, err := NewDecrypter(AES128GCM, make([]byte, 15), make([]byte, 12), 64, 1); err == nil {
		t.Error("short key")
	}
	e, d := pair(t, AES128GCM)
	for _, b := range [][]byte{nil, make([]byte, 11), {0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, append([]byte{0x90}, make([]byte, 13)...),
		{0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}, {0x8F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if _, err := e.Encrypt(b); err != ErrMalformed {
			t.Errorf("%x: %v", b, err)
		}
		if _, ok := d.Decrypt(b); ok {
			t.Errorf("%x was decrypted", b)
		}
	}
	if b := packet(1, 1, 0, 0, 10); true {
		if _, err := e.Encrypt(b[: len(b) : len(b)+Overhead-1]); err != ErrRoom {
			t.Error(err)
		}
	}
}

func TestAllocs(t *testing.T) {
	for _, p := range profiles {
		e, d := pair(t, p)
		b := packet(1, 0, 0, 1, 1100)
		seq, size := uint16(0), len(b)
		if n := testing.AllocsPerRun(1000, func() {
			seq++
			b = b[:size]
			binary.BigEndian.PutUint16(b[2:], seq)
			out, err := e.Encrypt(b)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := d.Decrypt(out); !ok {
				t.Fatal("not read")
			}
		}); n != 0 {
			t.Errorf("profile %#x: %v allocations", uint16(p), n)
		}
	}
}

// FuzzDecrypt: no input panics or is taken unless it was encrypted.
func FuzzDecrypt(f *testing.F) {
	e, _ := pair(f, AES128GCM)
	b, err := e.Encrypt(packet(1, 1, 2, 2, 40))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(AES128GCM), b)
	f.Add(uint16(AES128CMSHA1), packet(1, 1, 0, 0, 12))
	f.Add(uint16(AES128CMSHA1), []byte{0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xBE, 0xDE, 0, 0})
	f.Fuzz(func(t *testing.T, profile uint16, data []byte) {
		p := profiles[int(profile)%len(profiles)]
		_, d := pair(t, p)
		in := oracle(t, p)
		_, err := in.DecryptRTP(nil, append([]byte(nil), data...), nil)
		if _, ok := d.Decrypt(append([]byte(nil), data...)); ok && err != nil {
			t.Errorf("we take what pion refuses: %v", err)
		}
	})
}

func BenchmarkEncrypt(b *testing.B) {
	for _, size := range []int{1200, 120} {
		for _, p := range []Profile{AES128GCM, AES128CMSHA1} {
			plain := packet(1, 0, 0, 1, size-20)
			b.Run(fmt.Sprintf("%#x/size=%d/ours", uint16(p), size), func(b *testing.B) {
				e, _ := pair(b, p)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for seq := uint16(0); b.Loop(); seq++ {
					binary.BigEndian.PutUint16(plain[2:], seq)
					if _, err := e.Encrypt(plain); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("%#x/size=%d/pion", uint16(p), size), func(b *testing.B) {
				c := oracle(b, p)
				buf := make([]byte, 2000)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for seq := uint16(0); b.Loop(); seq++ {
					binary.BigEndian.PutUint16(plain[2:], seq)
					if _, err := c.EncryptRTP(buf[:0], plain, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
