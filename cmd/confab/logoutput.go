package main

// Where the log goes: stderr, a file, syslog. Whoever logs never waits for it: the
// packet path does so, too, and a pipe that nobody reads would stop it.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"confab/cmd/confab/config"
)

const (
	// logQueue is how many lines may wait to be written; more are lost, and counted.
	logQueue = 4096

	// logFlush is how long the end waits for lines that nobody takes.
	logFlush = 2 * time.Second
)

// logOutput writes lines in a goroutine of its own.
type logOutput struct {
	lines  chan logLine
	reopen chan chan error
	move   chan logMove
	stop   chan struct{}
	done   chan struct{}
	lost   atomic.Uint64

	sink   logSink
	stderr io.Writer    // what the sink does not take
	report func(uint64) // tells of lost lines
}

// logLine is a line with its newline and its severity in syslog.
type logLine struct {
	severity int
	text     []byte
}

// logSink is one kind of place for lines. Only the goroutine uses it.
type logSink interface {
	write(logLine) error
	reopen() error
	close() error
}

// openLogOutput opens what the configuration names; sockets are those of syslog. Call
// run next.
func openLogOutput(cfg config.Config, stderr io.Writer, sockets []string) (*logOutput, error) {
	sink, err := openSink(cfg, stderr, sockets)
	if err != nil {
		return nil, err
	}
	return &logOutput{
		lines: make(chan logLine, logQueue), reopen: make(chan chan error), move: make(chan logMove), stop: make(chan struct{}), done: make(chan struct{}),
		stderr: stderr, sink: sink,
	}, nil
}

func openSink(cfg config.Config, stderr io.Writer, sockets []string) (logSink, error) {
	switch cfg.Log.Output {
	case "file":
		f := &logFile{path: cfg.Log.File}
		if err := f.reopen(); err != nil {
			return nil, fmt.Errorf("log file (log.file): %w", err)
		}
		return f, nil
	case "syslog":
		s := &syslog{sockets: sockets, facility: config.Facilities[cfg.Log.Facility], tag: "confab"}
		if err := s.reopen(); err != nil {
			// It may come later; until then stderr has the lines.
			fmt.Fprintf(stderr, "confab: warning: syslog can't be reached, the log goes here meanwhile: %v\n", err)
		}
		return s, nil
	}
	return stream{stderr}, nil
}

// run starts the goroutine; report is called in it when lines were lost.
func (o *logOutput) run(report func(lines uint64)) {
	o.report = report
	go o.loop()
}

// at is a writer of lines of a severity. A Write is one line.
func (o *logOutput) at(severity int) io.Writer { return lineWriter{o, severity} }

type lineWriter struct {
	output   *logOutput
	severity int
}

func (w lineWriter) Write(text []byte) (int, error) {
	select {
	case w.output.lines <- logLine{w.severity, append([]byte(nil), text...)}: // slog uses its buffer again
	default:
		w.output.lost.Add(1)
	}
	return len(text), nil
}

func (o *logOutput) loop() {
	defer close(o.done)
	told := uint64(0)
	for {
		select {
		case l := <-o.lines:
			o.write(l)
		case answer := <-o.reopen:
			o.drain() // what was said before goes to the old file
			answer <- o.sink.reopen()
		case m := <-o.move:
			o.drain() // what was said before goes to the old place
			_ = o.sink.close()
			o.sink = m.to
			close(m.done)
		case <-o.stop:
			o.drain()
			return
		}
		if n := o.lost.Load(); n > told && len(o.lines) == 0 {
			o.report(n - told)
			told = n
		}
	}
}

// drain writes the lines that wait.
func (o *logOutput) drain() {
	for {
		select {
		case l := <-o.lines:
			o.write(l)
		default:
			return
		}
	}
}

func (o *logOutput) write(l logLine) {
	if err := o.sink.write(l); err != nil {
		_, _ = o.stderr.Write(l.text) // there is no other place to tell it
	}
}

// Reopen opens the file anew, after logrotate has moved it.
func (o *logOutput) Reopen() error {
	answer := make(chan error, 1)
	select {
	case o.reopen <- answer:
		return <-answer
	case <-o.done:
		return os.ErrClosed
	}
}

// logMove is another sink for the lines from then on; done is closed when it is so.
type logMove struct {
	to   logSink
	done chan struct{}
}

// Move has the lines go to another sink.
func (o *logOutput) Move(to logSink) error {
	m := logMove{to, make(chan struct{})}
	select {
	case o.move <- m:
		<-m.done
		return nil
	case <-o.done:
		return os.ErrClosed
	}
}

// Lost is how many lines found no room.
func (o *logOutput) Lost() uint64 { return o.lost.Load() }

// Close writes what waits, for a while, and ends the goroutine; one that hangs in a
// write is left behind.
func (o *logOutput) Close() error {
	close(o.stop)
	t := time.NewTimer(logFlush)
	defer t.Stop()
	select {
	case <-o.done:
		return o.sink.close()
	case <-t.C:
		return errors.New("the log takes no lines: some are lost")
	}
}

// stream is stderr.
type stream struct{ w io.Writer }

func (s stream) write(l logLine) error {
	_, err := s.w.Write(l.text)
	return err
}

func (stream) reopen() error { return nil }
func (stream) close() error  { return nil }

// logFile is a file that is written to its end.
type logFile struct {
	path string
	f    *os.File
}

func (l *logFile) write(line logLine) error {
	_, err := l.f.Write(line.text)
	return err
}

// reopen keeps the old file where the new one can't be had.
func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	old := l.f
	l.f = f
	if old == nil {
		return nil
	}
	return old.Close()
}

func (l *logFile) close() error { return l.f.Close() }
