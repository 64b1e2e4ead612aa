package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"confab/cmd/confab/config"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	line chan struct{} // gets something for each line
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.line <- struct{}{} }()
	return b.text.Write(p)
}

// wait returns when a text is in the log.
func (b *lockedBuffer) wait(t *testing.T, text string) {
	t.Helper()
	for {
		b.mu.Lock()
		got := b.text.String()
		b.mu.Unlock()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-b.line:
		case <-t.Context().Done():
			t.Fatalf("no %q in the log:\n%s", text, got)
		}
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config(t)
	wanted := make(chan config.Config, 1)
	hup := make(chan os.Signal)
	re := reloads{hup, func() (config.Config, error) {
		c := <-wanted
		return c, nil
	}}
	log := &lockedBuffer{line: make(chan struct{}, 1000)}
	startServer(t, cfg, re, log)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	configJS := func() string {
		resp, err := client.Get("https://" + cfg.Web.Listen[0] + "/config.js")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if strings.Contains(configJS(), "startSilent") {
		t.Fatal("it is there already")
	}
	status := func(key string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+cfg.Web.Listen[0]+"/_/api/v1/rooms", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	const fresh = "a-key-that-is-new-here"
	if got := status(fresh); got != http.StatusUnauthorized {
		t.Errorf("before it is a key: %d", got)
	}
	next := cfg
	next.Admin.APIKeys = []config.Secret{fresh}
	next.Web.Config = map[string]any{"startSilent": true}
	next.Rooms.MaxRooms++
	next.Rooms.Reactions = false
	next.Rooms.FileMaxSize = 12345
	wanted <- next
	hup <- syscall.SIGHUP
	log.wait(t, "changed keys need a restart")
	log.wait(t, "rooms.max_rooms")
	if js := configJS(); !strings.Contains(js, "startSilent") || !strings.Contains(js, "disableReactions") || !strings.Contains(js, `"maxFileSize": 12345`) {
		t.Error("config.js is the old one")
	}
	if got := status(fresh); got != http.StatusOK {
		t.Errorf("the new key: %d", got)
	}
	next.Web.Dir = "/missing"
	wanted <- next
	hup <- syscall.SIGHUP
	log.wait(t, "configuration not reloaded")
	if !strings.Contains(configJS(), "startSilent") {
		t.Error("a mistake changed something")
	}
}

func TestReloadableKeysExist(t *testing.T) {
	t.Parallel()
	for _, key := range reloadable {
		if !slices.Contains(config.Keys(), key) {
			t.Errorf("there is no key %s", key)
		}
	}
}

// The head of default.toml says which keys SIGHUP takes over: each by its own name, or by
// its table alone.
func TestReloadableKeysAreDocumented(t *testing.T) {
	t.Parallel()
	head, _, _ := strings.Cut(config.Default(), "\n\n# Name under which")
	_, head, _ = strings.Cut(head, "SIGHUP (kill -HUP)")
	head = strings.ReplaceAll(head, "\n#", "")
	named := strings.FieldsFunc(head, func(c rune) bool { return strings.ContainsRune(" .,;:()", c) })
	for _, key := range reloadable {
		table, name := "", key
		if i := strings.LastIndexByte(key, '.'); i >= 0 {
			table, name = key[:i], key[i+1:]
		}
		whole := strings.Contains(head, "["+table+"];") || strings.Contains(head, "["+table+"] except")
		if !whole && !slices.Contains(named, name) {
			t.Errorf("default.toml does not name %s", key)
		}
	}
}
