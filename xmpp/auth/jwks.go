package auth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Where the public keys of tokens come from (room-services.md §4.5): one document
// with all keys, fetched again as it says, or a server with one file for each.
// Logins that need the same key share one fetch, and wait only so long.

// KeysConfig says where public keys are.
type KeysConfig struct {
	// URL is a document of keys (auth.jwt.keys_url).
	URL string
	// Server has each at SERVER/sha256hex(kid).pem (auth.jwt.key_server). With both,
	// what the document lacks is asked of the server.
	Server string
	// Client makes the requests; nil is one with timeouts.
	Client *http.Client
	Log    *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

const (
	requestTimeout = 5 * time.Second                // of one request
	requestTries   = 2                              // stock makes three of 30 s
	keyWait        = 2*requestTimeout + time.Second // that a login waits: less than xmpp's negotiation takes

	maxDocument  = 1 << 20 // bytes
	maxKeyFile   = 64 << 10
	maxRedirects = 3

	keyLife      = 6 * time.Hour    // without Cache-Control
	minKeyLife   = time.Minute      // whatever it says
	maxKeyLife   = 24 * time.Hour   // a key that was withdrawn should go
	refreshAhead = time.Minute      // before the life is over
	retryAfter   = 30 * time.Second // a failure; also between fetches for a kid that is missing
	goneGrace    = 90 * time.Minute // of a kid that is no longer published: tokens out there live an hour
	missLife     = time.Minute      // a kid that the server hasn't
	errorLife    = 5 * time.Second  // one of which it said nothing

	cachedKeys = 128  // of the key server (jwt_pubkey_cache_size)
	cachedMiss = 1024 // kids that it hasn't
	// Requests for kids that nobody has seen, which anybody can make up: so many a
	// second, as many more at once, and so many under way.
	missRate, missBurst, missParallel = 10, 20, 8
)

var (
	errNoSuchKey  = errors.New("no such key")
	errTooMany    = errors.New("too many unknown keys asked for")
	errPanic      = errors.New("keys not fetched")
	errKeysClosed = errors.New("keys are closed")
)

// Keys finds public keys and remembers them. Close ends its requests.
type Keys struct {
	cfg    KeysConfig
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	misses *rate.Limiter
	slots  chan struct{}

	mu       sync.Mutex
	closed   bool
	doc      document
	files    map[string]*keyFile // of the server, by kid
	inflight map[string]*flight  // by kid; "" is the document
}

// document is what URL said last.
type document struct {
	keys    map[string]crypto.PublicKey
	gone    map[string]goneKey // no longer published
	refresh time.Time          // when to ask again
	asked   time.Time          // last
}

type goneKey struct {
	key   crypto.PublicKey
	until time.Time
}

// keyFile is what the server said about a kid; without a key it hasn't one.
type keyFile struct {
	key     crypto.PublicKey
	refresh time.Time
	until   time.Time // forgotten then, unless confirmed
	used    time.Time
}

// flight is a request under way.
type flight struct {
	done chan struct{}
	err  error
}

// NewKeys returns the keys of cfg. Nothing is fetched before somebody needs a key.
func NewKeys(cfg KeysConfig) *Keys {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	client := *cfg.Client
	client.Timeout = requestTimeout
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return http.ErrUseLastResponse
		}
		return nil
	}
	cfg.Client = &client
	k := &Keys{
		cfg: cfg, misses: rate.NewLimiter(missRate, missBurst), slots: make(chan struct{}, missParallel),
		files: map[string]*keyFile{}, inflight: map[string]*flight{},
		doc: document{gone: map[string]goneKey{}},
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// Warm fetches the document, so that the first login does not wait for it.
func (k *Keys) Warm() {
	if k.cfg.URL == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.start("", k.fetchDocument)
}

// Check fetches the document, or reaches the server, and says what is wrong with
// it; it is for an operator who asks.
func (k *Keys) Check(ctx context.Context) error {
	if k.cfg.URL != "" {
		if err := k.fetchDocument(ctx); err != nil {
			return err
		}
	}
	if k.cfg.Server != "" {
		// Any answer will do: which keys it has is not known.
		if _, _, err := k.getOnce(ctx, strings.TrimRight(k.cfg.Server, "/")+"/", maxKeyFile); err != nil {
			if _, answered := errors.AsType[statusError](err); !answered {
				return err
			}
		}
	}
	return nil
}

// Close ends requests under way and returns when they have ended.
func (k *Keys) Close() error {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.cancel()
	k.wg.Wait()
	k.cfg.Client.CloseIdleConnections()
	return nil
}

// Key implements KeySource.
func (k *Keys) Key(ctx context.Context, kid string) (crypto.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	if k.cfg.URL != "" {
		key, err := k.fromDocument(ctx, kid)
		if err == nil || k.cfg.Server == "" {
			return key, err
		}
	}
	return k.fromServer(ctx, kid)
}

// fromDocument finds a key in the document. One that is old is used while the next
// is fetched; only a kid that it lacks waits for a newer one.
func (k *Keys) fromDocument(ctx context.Context, kid string) (crypto.PublicKey, error) {
	for fetched := false; ; fetched = true {
		now := k.cfg.Now()
		k.mu.Lock()
		key := k.doc.find(kid, now)
		due := !now.Before(k.doc.refresh)
		if key == nil && now.Sub(k.doc.asked) >= retryAfter {
			due = true // it may have been added
		}
		var f *flight
		if !fetched && (due || key == nil && k.inflight[""] != nil) {
			f = k.start("", k.fetchDocument)
		}
		k.mu.Unlock()
		switch {
		case key != nil:
			return key, nil
		case f == nil:
			return nil, errNoSuchKey
		}
		if err := f.wait(ctx); err != nil {
			return nil, err
		}
	}
}

func (d *document) find(kid string, now time.Time) crypto.PublicKey {
	if key := d.keys[kid]; key != nil {
		return key
	}
	if g, ok := d.gone[kid]; ok && now.Before(g.until) {
		return g.key
	}
	return nil
}

// fetchDocument replaces the document.
func (k *Keys) fetchDocument(ctx context.Context) error {
	began := k.cfg.Now()
	data, life, err := k.get(ctx, k.cfg.URL, maxDocument)
	var keys map[string]crypto.PublicKey
	skipped := 0
	if err == nil {
		keys, skipped, err = parseDocument(data)
	}
	now := k.cfg.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doc.asked = began
	if err != nil {
		k.doc.refresh = now.Add(retryAfter)
		k.cfg.Log.Warn("token keys not fetched", "url", k.cfg.URL, "err", err, "known", len(k.doc.keys))
		return err
	}
	k.doc.replace(keys, now)
	k.doc.refresh = now.Add(max(minKeyLife, life-refreshAhead))
	k.cfg.Log.Debug("token keys fetched", "url", k.cfg.URL, "keys", len(keys), "skipped", skipped, "life", life)
	return nil
}

func (d *document) replace(keys map[string]crypto.PublicKey, now time.Time) {
	for kid, g := range d.gone {
		if _, back := keys[kid]; back || !now.Before(g.until) {
			delete(d.gone, kid)
		}
	}
	for kid, key := range d.keys {
		if _, kept := keys[kid]; !kept && len(d.gone) < maxKeys {
			d.gone[kid] = goneKey{key, now.Add(goneGrace)}
		}
	}
	d.keys = keys
}

// fromServer finds the file of a key.
func (k *Keys) fromServer(ctx context.Context, kid string) (crypto.PublicKey, error) {
	for fetched := false; ; fetched = true {
		now := k.cfg.Now()
		k.mu.Lock()
		e := k.files[kid]
		if e != nil && !now.Before(e.until) {
			delete(k.files, kid)
			e = nil
		}
		var f *flight
		if e != nil {
			e.used = now
		}
		// An old key is used while it is fetched anew.
		if !fetched && (e == nil || e.key != nil && !now.Before(e.refresh)) {
			f = k.start(kid, func(ctx context.Context) error { return k.fetchFile(ctx, kid) })
		}
		k.mu.Unlock()
		switch {
		case e != nil && e.key != nil:
			return e.key, nil
		case e != nil || f == nil:
			return nil, errNoSuchKey
		}
		if err := f.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// fetchFile asks the server for one key. The kid comes from whoever logs in: only
// its hash gets into an address.
func (k *Keys) fetchFile(ctx context.Context, kid string) error {
	k.mu.Lock()
	known := k.files[kid] != nil
	k.mu.Unlock()
	if !known {
		leave, err := k.ration(ctx)
		if err != nil {
			return err
		}
		defer leave()
	}
	hash := sha256.Sum256([]byte(kid))
	url := strings.TrimRight(k.cfg.Server, "/") + "/" + hex.EncodeToString(hash[:]) + ".pem"
	data, life, err := k.get(ctx, url, maxKeyFile)
	var key crypto.PublicKey
	if err == nil {
		key, err = parsePEM(data)
	}
	now := k.cfg.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.files[kid]
	switch {
	case err == nil:
		k.remember(kid, &keyFile{key: key, refresh: now.Add(life), until: now.Add(life + goneGrace), used: now})
		return nil
	case old != nil && old.key != nil:
		old.refresh = now.Add(retryAfter) // until its grace is over
	case isMissing(err):
		k.remember(kid, &keyFile{until: now.Add(missLife), used: now})
		return err
	default:
		k.remember(kid, &keyFile{until: now.Add(errorLife), used: now})
	}
	k.cfg.Log.Warn("token key not fetched", "url", url, "err", err)
	return err
}

// ration holds back requests for kids that were never seen. Keys that are known
// don't wait behind them.
func (k *Keys) ration(ctx context.Context) (leave func(), err error) {
	if !k.misses.AllowN(k.cfg.Now(), 1) {
		return nil, errTooMany
	}
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	select {
	case k.slots <- struct{}{}:
		return func() { <-k.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// remember keeps what the server said, in the place of what was used least
// recently of its kind: kids that are made up push out no keys.
func (k *Keys) remember(kid string, e *keyFile) {
	limit := cachedKeys
	if e.key == nil {
		limit = cachedMiss
	}
	delete(k.files, kid)
	n, oldest := 0, ""
	for other, o := range k.files {
		if (o.key == nil) != (e.key == nil) {
			continue
		}
		if n++; oldest == "" || o.used.Before(k.files[oldest].used) {
			oldest = other
		}
	}
	if n >= limit {
		delete(k.files, oldest)
	}
	k.files[kid] = e
}

// start joins the request for name that is under way, or begins one. It is called
// with mu held.
func (k *Keys) start(name string, fetch func(context.Context) error) *flight {
	if f := k.inflight[name]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	if k.closed {
		f.err = errKeysClosed
		close(f.done)
		return f
	}
	k.inflight[name] = f
	k.wg.Go(func() {
		err := errPanic
		defer func() {
			if p := recover(); p != nil {
				k.cfg.Log.Error("panic while keys were fetched", "panic", p, "stack", string(debug.Stack()))
			}
			k.mu.Lock()
			f.err = err
			delete(k.inflight, name)
			k.mu.Unlock()
			close(f.done)
		}()
		err = fetch(k.ctx)
	})
	return f
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string { return "status " + strconv.Itoa(int(e)) }

func isMissing(err error) bool {
	var e statusError
	return errors.As(err, &e) && (e == http.StatusNotFound || e == http.StatusGone || e == http.StatusForbidden)
}

// get fetches an address, a second time if the first was no answer.
func (k *Keys) get(ctx context.Context, url string, limit int64) (data []byte, life time.Duration, err error) {
	for try := 1; ; try++ {
		data, life, err = k.getOnce(ctx, url, limit)
		var status statusError
		if err == nil || try == requestTries || ctx.Err() != nil || errors.As(err, &status) && status < 500 {
			return data, life, err
		}
	}
}

func (k *Keys) getOnce(ctx context.Context, url string, limit int64) ([]byte, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("token keys: %w", err)
	}
	resp, err := k.cfg.Client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("token keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, statusError(resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, 0, fmt.Errorf("token keys: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, 0, fmt.Errorf("token keys: more than %d bytes", limit)
	}
	return data, lifeOf(resp.Header.Get("Cache-Control")), nil
}

// lifeOf reads max-age (RFC 9111 §5.2.2.1).
func lifeOf(cacheControl string) time.Duration {
	life := keyLife
	for part := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
		switch name {
		case "no-store", "no-cache":
			return minKeyLife
		case "max-age":
			if n, err := strconv.Atoi(strings.Trim(value, `"`)); err == nil && n >= 0 {
				life = time.Duration(min(n, int(maxKeyLife.Seconds()))) * time.Second
			}
		}
	}
	return max(life, minKeyLife)
}
