package main

// The system's log: lines as syslog(3) sends them to the local socket.

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// syslogSockets are the places of the local socket, by system.
var syslogSockets = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}

// Severities of RFC 5424 §6.2.1.
const (
	severityError   = 3
	severityWarning = 4
	severityInfo    = 6
	severityDebug   = 7
)

const (
	// syslogWait bounds one write: a daemon that hangs holds up the log, not the server.
	syslogWait = time.Second

	// syslogRetry is how long it is left alone after a failure.
	syslogRetry = time.Second

	// syslogMax is what daemons take of one message: rsyslog's default.
	syslogMax = 8 << 10
)

// syslog is a logSink.
type syslog struct {
	sockets  []string
	facility int
	tag      string
	conn     net.Conn
	stream   bool // messages need an end
	notUntil time.Time
}

var errNoSyslog = errors.New("no socket")

func (s *syslog) reopen() error {
	_ = s.close()
	var first error
	for _, path := range s.sockets {
		for _, network := range []string{"unixgram", "unix"} {
			conn, err := net.DialTimeout(network, path, syslogWait)
			if err == nil {
				s.conn, s.stream = conn, network == "unix"
				return nil
			}
			if first == nil {
				first = err
			}
		}
	}
	s.notUntil = time.Now().Add(syslogRetry)
	if first == nil {
		first = errNoSyslog
	}
	return first
}

func (s *syslog) write(l logLine) error {
	// A daemon that was started again has another socket: the first try may fail.
	if s.conn != nil {
		if err := s.send(l); err == nil {
			return nil
		}
		_ = s.close()
	} else if time.Now().Before(s.notUntil) {
		return errNoSyslog
	}
	if err := s.reopen(); err != nil {
		return err
	}
	return s.send(l)
}

// send writes one message in the form that local daemons take.
func (s *syslog) send(l logLine) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%d>%s %s[%d]: ", s.facility*8+l.severity, time.Now().Format(time.Stamp), s.tag, os.Getpid())
	text := bytes.TrimRight(l.text, "\n")
	b.Write(text[:min(len(text), syslogMax-b.Len()-1)])
	if s.stream {
		b.WriteByte('\n')
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(syslogWait)); err != nil {
		return err
	}
	_, err := s.conn.Write(b.Bytes())
	return err
}

func (s *syslog) close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
