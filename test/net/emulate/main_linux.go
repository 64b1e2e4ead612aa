// Command emulate carries IP packets between two network namespaces over a link
// that a file describes.
//
//	emulate -link link.json -log packets.csv near 10.99.0.1 far 10.99.0.2
//
// It makes a TUN device in each namespace, with these addresses, and passes what
// one sends to the other through the model of package link: "down" from near to
// far, "up" the other way. It prints "ready", and the time of the traces begins
// when a line comes on standard input; before that the links are as at their time 0.
// It ends, and the devices with it, when standard input does.
//
// The log has a line for each packet (see logLine). It needs root.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"

	"sync"
	"sync/atomic"
	"time"

	"confab/test/net/link"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("emulate: ")
	linkPath := flag.String("link", "", "JSON file: {\"down\": …, \"up\": …}, both as link.Config reads them")
	logPath := flag.String("log", "", "file for one line per packet")
	flag.Parse()
	if flag.NArg() != 4 || *linkPath == "" || *logPath == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*linkPath, *logPath, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(linkPath, logPath string, args []string) error {
	text, err := os.ReadFile(linkPath)
	if err != nil {
		return fmt.Errorf("reading the link: %w", err)
	}
	var c struct{ Down, Up link.Config }
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", linkPath, err)
	}
	near, err := openTUN(args[0], "wire0", args[1], args[3])
	if err != nil {
		return err
	}
	defer near.Close()
	far, err := openTUN(args[2], "wire0", args[3], args[1])
	if err != nil {
		return err
	}
	defer far.Close()
	out, err := os.Create(logPath)
	if err != nil {
		return fmt.Errorf("creating the log: %w", err)
	}
	lines := make(chan logLine, 1<<16)
	var clock clock
	var wires, logger sync.WaitGroup
	logger.Go(func() { writeLog(out, lines) })
	for _, w := range []*wire{
		{name: "down", from: near, to: far, link: link.New(c.Down), clock: &clock, log: lines},
		{name: "up", from: far, to: near, link: link.New(c.Up), clock: &clock, log: lines},
	} {
		w.start(&wires)
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		clock.begin()
	}
	near.Close()
	far.Close()
	wires.Wait()
	close(lines)
	logger.Wait()
	return out.Close()
}

// clock is the time of the traces: 0 until it begins.
type clock struct{ began atomic.Pointer[time.Time] }

func (c *clock) begin() {
	now := time.Now()
	c.began.CompareAndSwap(nil, &now)
}

// now is the link's time. Before the beginning the link sees the time as negative,
// so that its queue moves and its trace doesn't.
func (c *clock) now() time.Duration {
	if b := c.began.Load(); b != nil {
		return time.Since(*b)
	}
	return time.Since(started) - warmup
}

var started = time.Now()

// warmup is more than the time before the beginning takes, so that the time does
// not run backwards when the traces begin.
const warmup = time.Hour

// logLine is what became of a packet:
//
//	µs of the epoch, direction, bytes, µs in the queue, "-" or why it was dropped,
//	ms on the way, kind, payload type, SSRC, sequence number
//
// Kinds are rtp, rtcp, stun, dtls and tcp; what follows it is of RTP alone, and 0 for the others.
type logLine struct {
	at      time.Time
	wire    string
	size    int
	fate    link.Fate
	transit time.Duration
	packet  packet
}

func writeLog(f *os.File, lines <-chan logLine) {
	w := bufio.NewWriter(f)
	defer w.Flush()
	for l := range lines {
		fmt.Fprintf(w, "%d,%s,%d,%d,%s,%.1f,%s,%d,%d,%d\n", l.at.UnixMicro(), l.wire, l.size, l.fate.Queued.Microseconds(), l.fate.Drop,
			float64(l.transit.Microseconds())/1000, l.packet.kind, l.packet.payloadType, l.packet.ssrc, l.packet.seq)
		if len(lines) == 0 {
			w.Flush() // somebody may be following
		}
	}
}

// packet is what can be told of a packet without keys.
type packet struct {
	kind        string
	payloadType byte
	seq         uint16
	ssrc        uint32
}

// classify reads an IPv4 packet (RFC 7983 for what is in UDP).
func classify(b []byte) packet {
	if len(b) < 20 || b[0]>>4 != 4 {
		return packet{kind: "other"}
	}
	head := int(b[0]&15) * 4
	if b[9] == 6 {
		return packet{kind: "tcp"}
	}
	if b[9] != 17 || len(b) < head+8+12 {
		return packet{kind: "other"}
	}
	u := b[head+8:]
	be32 := func(b []byte) uint32 {
		return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	switch {
	case u[0] < 4:
		return packet{kind: "stun"}
	case u[0] >= 20 && u[0] < 64:
		return packet{kind: "dtls"}
	case u[0]>>6 == 2 && u[1] >= 192 && u[1] < 224:
		return packet{kind: "rtcp"}
	case u[0]>>6 == 2:
		return packet{kind: "rtp", payloadType: u[1] & 127, seq: uint16(u[2])<<8 | uint16(u[3]), ssrc: be32(u[8:])}
	}
	return packet{kind: "other"}
}

// isOver tells the end of a device from trouble with one packet.
func isOver(err error) bool {
	return errors.Is(err, os.ErrClosed)
}
