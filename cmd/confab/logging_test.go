package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confab/cmd/confab/config"
)

// logConfig is one with an output.
func logConfig(output string) (cfg config.Config) {
	cfg.Log.Level, cfg.Log.Format, cfg.Log.Output, cfg.Log.Facility = "info", "auto", output, "daemon"
	return cfg
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// logrotate moves the file and sends SIGHUP; the configuration need not be sound then.
func TestLogFile(t *testing.T) {
	t.Parallel()
	cfg := logConfig("file")
	dir := t.TempDir()
	cfg.Log.File = filepath.Join(dir, "confab.log")
	var stderr bytes.Buffer
	l, err := openLogs(cfg, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{logs: l}
	l.of("turn").Info("before")
	l.reopen() // written by now
	if err := os.Rename(cfg.Log.File, cfg.Log.File+".1"); err != nil {
		t.Fatal(err)
	}
	l.of("turn").Info("moved")
	s.reload(t.Context(), cfg, reloads{load: func() (config.Config, error) { return cfg, errors.New("a mistake") }})
	if err := l.close(); err != nil {
		t.Error(err)
	}
	l.of("turn").Info("after the end") // of goroutines that are late: goes nowhere, and hurts nobody
	old, fresh := read(t, cfg.Log.File+".1"), read(t, cfg.Log.File)
	if !strings.Contains(old, `"msg":"before","component":"turn"`) || !strings.Contains(old, `"moved"`) || strings.Contains(old, "a mistake") {
		t.Errorf("the old file has\n%s", old)
	}
	if !strings.Contains(fresh, "a mistake") || strings.Contains(fresh, "before") || stderr.Len() > 0 {
		t.Errorf("the new file has\n%sstderr\n%s", fresh, stderr.String())
	}
	if info, err := os.Stat(cfg.Log.File); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("everybody reads it: %v %v", info, err)
	}

	cfg.Log.File = filepath.Join(dir, "missing", "confab.log")
	if _, err := openLogs(cfg, io.Discard); err == nil || !strings.Contains(err.Error(), "log.file") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// SIGHUP changes levels, of the loggers that are out, too.
func TestLevels(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	cfg := logConfig("stderr")
	cfg.Log.Components = map[string]string{"muc": "error"}
	l := newLogs(cfg, &out)
	muc, turn := l.of("muc").With("a", 1), l.of("turn")
	muc.Warn("first")
	turn.Debug("first")
	cfg.Log.Level, cfg.Log.Components = "error", map[string]string{"turn": "debug"}
	l.setLevels(cfg)
	muc.Warn("second")
	turn.Debug("second")
	cfg.Log.Level, cfg.Log.Components = "warn", nil
	l.setLevels(cfg)
	muc.Warn("third")
	turn.Info("third")
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `"msg":"second","component":"turn"`) || !strings.Contains(got, `"msg":"third","component":"muc"`) {
		t.Errorf("got\n%s", got)
	}
}

// Each part of the program logs under a name that log.components takes.
func TestComponents(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, m := range regexp.MustCompile(`logs?\.of\("(\w+)"\)`).FindAllStringSubmatch(read(t, file), -1) {
			if !slices.Contains(config.Components, m[1]) {
				t.Errorf("%s: %s is no component", file, m[1])
			}
		}
	}
}

func TestSyslog(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "log")
	daemon := func() *net.UnixConn {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		return conn
	}
	next := func(conn *net.UnixConn) string {
		t.Helper()
		b := make([]byte, 64<<10)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	conn := daemon()
	cfg := logConfig("syslog")
	cfg.Log.Facility = "local1"
	var stderr bytes.Buffer
	l, err := openLogsAt(cfg, &stderr, []string{socket + ".missing", socket})
	if err != nil {
		t.Fatal(err)
	}
	log := l.of("turn").With("id", 7)
	log.Info("ready")
	log.Error("broken", "text", strings.Repeat("x", 20<<10))
	// RFC 3164 §4.1: local1 is 17, informational 6, error 3; the daemon knows the time.
	if got := next(conn); !regexp.MustCompile(`^<142>\w{3} [ \d]\d \d\d:\d\d:\d\d confab\[\d+\]: level=INFO msg=ready component=turn id=7$`).MatchString(got) {
		t.Errorf("got %q", got)
	}
	if got := next(conn); !strings.HasPrefix(got, "<139>") || len(got) > syslogMax {
		t.Errorf("got %d bytes: %.40q", len(got), got)
	}

	// The daemon is started again: nothing is lost. Then it is gone: stderr has it.
	_ = conn.Close()
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	conn = daemon()
	log.Warn("second daemon")
	if got := next(conn); !strings.HasPrefix(got, "<140>") || !strings.Contains(got, "second daemon") {
		t.Errorf("got %q", got)
	}
	_ = conn.Close()
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	log.Warn("no daemon")
	if err := l.close(); err != nil {
		t.Error(err)
	}
	if got := stderr.String(); !strings.Contains(got, "no daemon") || strings.Contains(got, "second") {
		t.Errorf("stderr has %q", got)
	}
}

// Syslog daemons that take a stream end messages by a newline.
func TestSyslogStream(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "log")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := &syslog{sockets: []string{socket}, facility: config.Facilities["daemon"], tag: "confab"}
	for _, text := range []string{"one\n", "two\n"} {
		if err := s.write(logLine{severityInfo, []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.close()
	got, err := io.ReadAll(conn)
	if err != nil || strings.Count(string(got), "\n") != 2 || !strings.Contains(string(got), "]: two\n") {
		t.Errorf("got %q, %v", got, err)
	}
}

// Whoever logs does not wait, also when nobody reads; what was lost is told.
func TestNobodyWaitsForTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		l, err := openLogs(logConfig("stderr"), w)
		if err != nil {
			t.Fatal(err)
		}
		log := l.of("main")
		log.Info("first")
		synctest.Wait() // it hangs in the pipe
		for range logQueue + 10 {
			log.Info("more")
		}
		if lost := l.output.Lost(); lost != 10 {
			t.Errorf("%d lines are lost", lost)
		}
		text := make(chan string)
		go func() {
			all, _ := io.ReadAll(r)
			text <- string(all)
		}()
		synctest.Wait()
		if err := l.close(); err != nil {
			t.Error(err)
		}
		_ = w.Close()
		got := <-text
		if strings.Count(got, `"more"`) != logQueue || !strings.Contains(got, `"msg":"log lines were lost, as it took them too slowly","component":"main","lines":10`) {
			t.Errorf("%d lines came\n%.300s", strings.Count(got, "\n"), got)
		}

		// The end does not wait for ever, either.
		_, stuck := io.Pipe()
		l, err = openLogs(logConfig("stderr"), stuck)
		if err != nil {
			t.Fatal(err)
		}
		l.of("main").Info("first")
		began := time.Now()
		if err := l.close(); err == nil || time.Since(began) != logFlush {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = stuck.Close()
	})
}

// SIGHUP moves the log: loggers that are out go along, with all that they add.
func TestLogMoves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := filepath.Join(dir, "log")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	var stderr bytes.Buffer
	cfg := logConfig("stderr")
	l, err := openLogsAt(cfg, &stderr, []string{socket})
	if err != nil {
		t.Fatal(err)
	}
	turn := l.of("turn").With("relay", 1).WithGroup("first")
	turn.Info("on stderr", "a", 1)
	cfg.Log.Output, cfg.Log.File = "file", filepath.Join(dir, "confab.log")
	if err := l.move(cfg); err != nil {
		t.Fatal(err)
	}
	turn.Info("in the file", "a", 2)
	nowhere := cfg
	nowhere.Log.File = filepath.Join(dir, "missing", "confab.log")
	if err := l.move(nowhere); err == nil || !strings.Contains(err.Error(), "log.file") {
		t.Errorf("a directory that is not there: %v", err)
	}
	turn.Info("still there", "a", 3)
	cfg.Log.Output = "syslog"
	if err := l.move(cfg); err != nil {
		t.Fatal(err)
	}
	turn.Warn("to the system", "a", 4)
	_ = daemon.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 1000)
	n, err := daemon.Read(b)
	if err != nil || !strings.Contains(string(b[:n]), `level=WARN msg="to the system" component=turn relay=1 first.a=4`) || strings.Contains(string(b[:n]), "time=") {
		t.Errorf("%q, %v", b[:n], err)
	}
	cfg.Log.Output, cfg.Log.Format = "stderr", "text"
	if err := l.move(cfg); err != nil {
		t.Fatal(err)
	}
	turn.Info("back", "a", 5)
	if err := l.close(); err != nil {
		t.Error(err)
	}
	if text := read(t, cfg.Log.File); strings.Count(text, "\n") != 2 || !strings.Contains(text, `"msg":"in the file","component":"turn","relay":1,"first":{"a":2}`) || !strings.Contains(text, "still there") {
		t.Errorf("the file has\n%s", text)
	}
	if text := stderr.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, `"on stderr"`) || !strings.Contains(text, "msg=back component=turn relay=1 first.a=5") {
		t.Errorf("stderr has\n%s", text)
	}
}
