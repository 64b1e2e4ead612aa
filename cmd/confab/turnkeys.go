package main

// Who may use the relay: secrets and long-term users, taken over while it runs.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
	"confab/storage"
)

// keysInterval is how often secrets.toml and the users in the database are looked at:
// "confab secret rotate turn" and "confab turn user" count after it without a word to
// the server. SIGHUP has them looked at once.
const keysInterval = 5 * time.Second

// turnUsers is what of the storage is needed here.
type turnUsers interface {
	TURNUsers(ctx context.Context, realm string) ([]storage.TURNUser, error)
}

// turnKeys keeps the keyring in step with the configuration, secrets.toml and the
// database. What can't be read leaves it as it is.
type turnKeys struct {
	ring  credential.Keyring
	dir   string // that of secrets.toml
	users turnUsers
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	realm   string
	secrets []config.Secret // turn.secrets
	have    keyContents
}

// keyContents is what a keyring is made of.
type keyContents struct {
	secrets []credential.Secret
	users   []credential.User
}

func newTURNKeys(cfg config.Config, users turnUsers, log *slog.Logger) *turnKeys {
	return &turnKeys{dir: cfg.DataDir, realm: cfg.TURN.Realm, secrets: cfg.TURN.Secrets, users: users, log: log, now: time.Now}
}

// configure takes over another turn.secrets; refresh makes it count.
func (k *turnKeys) configure(cfg config.Config) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secrets = cfg.TURN.Secrets
}

// refresh reads everything again. It reports whether another secret signs now.
func (k *turnKeys) refresh(ctx context.Context) (resigned bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next, err := k.read(ctx)
	if err != nil {
		return false, err
	}
	if reflect.DeepEqual(next, k.have) {
		return false, nil
	}
	before, started := k.ring.Signer(), k.have.secrets != nil
	k.ring.Set(next.secrets, next.users)
	resigned = started && k.ring.Signer() != before
	if started {
		k.log.Info("TURN credentials taken over", "secrets", len(next.secrets), "users", len(next.users), "resigned", resigned)
	}
	k.have = next
	return resigned, nil
}

func (k *turnKeys) read(ctx context.Context) (c keyContents, err error) {
	for _, s := range k.secrets {
		c.secrets = append(c.secrets, credential.Secret{Value: string(s)})
	}
	if len(c.secrets) == 0 {
		s, err := readSecrets(filepath.Join(k.dir, secretsFile))
		if err == nil && s.TURN == "" {
			err = errors.New("there is no turn_secret")
		}
		if err != nil {
			return c, fmt.Errorf("secrets: %w", err)
		}
		c.secrets = s.inForce(k.now())
	}
	list, err := k.users.TURNUsers(ctx, k.realm)
	if err != nil {
		return c, err
	}
	for _, u := range list {
		if len(u.Key) == len(credential.User{}.Key) && credential.CheckUserName(u.Name) == nil {
			c.users = append(c.users, credential.User{Name: u.Name, Realm: u.Realm, Key: [16]byte(u.Key)})
		}
	}
	return c, nil
}

// watch refreshes until ctx ends and calls resigned when another secret signs. What
// can't be read is told once.
func (k *turnKeys) watch(ctx context.Context, resigned func()) {
	tick := time.NewTicker(keysInterval)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		again, err := k.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != said:
			said = err.Error()
			k.log.Warn("TURN credentials not read, those before still count", "err", err)
		case err == nil:
			said = ""
		}
		if again {
			resigned()
		}
	}
}
