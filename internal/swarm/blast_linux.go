package swarm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxRun is what the kernel segments at most (UDP_MAX_SEGMENTS of older ones).
const maxRun = 64

type segments struct {
	hdr  unix.Cmsghdr
	size uint16
	_    [6]byte
}

// Blast sends packets of size bytes as fast as one goroutine can, run of them to
// each address and then to the next: each is copied, numbered and encrypted with
// AES-128-GCM under that receiver's key, as SRTP is (RFC 7714), and goes out with
// sendmmsg, a run as one datagram that the kernel segments. It is the least that
// any server does for them. It returns how many the kernel took.
func Blast(to []netip.AddrPort, size, run int, d time.Duration) (packets uint64, err error) {
	const header, tagLen = 12, 16
	run = min(max(run, 1), maxRun, 65000/(size+tagLen))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20)

	ciphers := make([]cipher.AEAD, len(to))
	names := make([]unix.RawSockaddrInet4, len(to))
	for i, a := range to {
		var key [16]byte
		_, _ = rand.Read(key[:]) // never fails
		block, err := aes.NewCipher(key[:])
		if err != nil {
			return 0, err
		}
		if ciphers[i], err = cipher.NewGCM(block); err != nil {
			return 0, err
		}
		names[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap(a.Port()), Addr: a.Addr().As4()}
	}
	plain := make([]byte, size)
	_, _ = rand.Read(plain)
	plain[0], plain[1] = 0x80, 96

	runs := max(sendBatch/run, 1)
	slots := runs * run
	buf := make([]byte, slots*sendSize)
	iovs := make([]unix.Iovec, slots)
	hdrs := make([]mmsghdr, runs)
	ctls := make([]segments, runs)
	for i := range iovs {
		iovs[i].Base = &buf[i*sendSize]
		iovs[i].SetLen(size + tagLen)
	}
	for i := range hdrs {
		h := &hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet4
		h.Iov = &iovs[i*run]
		h.SetIovlen(run)
		if run > 1 {
			c := &ctls[i]
			c.hdr.Level, c.hdr.Type = unix.SOL_UDP, unix.UDP_SEGMENT
			c.hdr.SetLen(unix.CmsgLen(2))
			c.size = uint16(size + tagLen)
			h.Control = (*byte)(unsafe.Pointer(c))
			h.SetControllen(unix.CmsgSpace(2))
		}
	}
	var nonce [12]byte
	end := time.Now().Add(d)
	for receiver, seq := 0, uint64(0); ; {
		if receiver == 0 && time.Now().After(end) {
			return packets, nil
		}
		n := 0
		for ; n < runs && receiver < len(to); n++ {
			for k := range run {
				b := buf[(n*run+k)*sendSize:][: size+tagLen : sendSize]
				copy(b, plain)
				put16(b[2:], uint16(seq)+uint16(k))
				binary.BigEndian.PutUint64(nonce[4:], seq+uint64(k))
				ciphers[receiver].Seal(b[header:header], nonce[:], b[header:size], b[:header])
			}
			hdrs[n].hdr.Name = (*byte)(unsafe.Pointer(&names[receiver]))
			receiver++
		}
		if receiver == len(to) {
			receiver = 0
			seq += uint64(run)
		}
		for done := 0; done < n; {
			sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdrs[done])), uintptr(n-done), 0, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				return packets, fmt.Errorf("sendmmsg: %w", errno)
			}
			done += int(sent)
			packets += uint64(sent) * uint64(run)
		}
	}
}
