package main

// Making accounts: names, generated passwords, the first host.

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"confab/storage"
	"confab/xmpp"
	"confab/xmpp/scram"
)

// newAccount derives the keys of an account. The error is scram.ErrPassword.
func newAccount(user, host, password string, isHost bool) (storage.Account, error) {
	k, err := scram.NewKeys(password)
	if err != nil {
		return storage.Account{}, err
	}
	return storage.Account{
		User: user, Host: host,
		Salt: k.Salt, Iterations: k.Iterations,
		SHA1StoredKey: k.SHA1.StoredKey, SHA1ServerKey: k.SHA1.ServerKey,
		SHA256StoredKey: k.SHA256.StoredKey, SHA256ServerKey: k.SHA256.ServerKey,
		IsHost: isHost,
	}, nil
}

// newPassword returns 80 random bits as 16 symbols of Crockford's base32, which
// has no letters that look like digits: "7F4K-Q2MX-9TBD-VH3C" (deployment.md §7.1).
func newPassword() string {
	b := make([]byte, 10)
	rand.Read(b) // never fails (crypto/rand)
	s := base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(b)
	return strings.Join([]string{s[:4], s[4:8], s[8:12], s[12:]}, "-")
}

// reserved are names that the server's own parts use (deployment.md §7.3).
var reserved = []string{"focus", "jvb", "jibri", "jigasi", "recorder", "transcriber"}

// anonymous is what the localpart of a guest looks like.
var anonymous = regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)

// accountName prepares NAME or NAME@HOST as a bare address; without a host it is
// on domain.
func accountName(name, domain string) (user, host string, err error) {
	if name != "" && !strings.Contains(name, "@") {
		name += "@" + domain
	}
	j, err := xmpp.ParseJID(name)
	if err != nil || j.Local == "" || !j.IsBare() {
		return "", "", fmt.Errorf("%q is no account name: NAME or NAME@HOST", name)
	}
	return j.Local, j.Domain, nil
}

// checkNew refuses names under which nobody may register.
func checkNew(user, host, domain string) error {
	switch {
	case host != domain:
		return fmt.Errorf("accounts are on %s, not on %s", domain, host)
	case slices.Contains(reserved, user):
		return fmt.Errorf("%s is reserved for the server's own parts", user)
	case anonymous.MatchString(user):
		return fmt.Errorf("%s looks like a guest", user)
	}
	return nil
}

// firstHostName is the account that the first start makes.
const firstHostName = "host"

// firstHost makes that account when the domain has no account yet and
// returns its password, else "".
func firstHost(ctx context.Context, st Storage, domain string) (password string, err error) {
	list, err := st.Accounts(ctx, domain)
	if err != nil || len(list) > 0 {
		return "", err
	}
	password = newPassword()
	a, err := newAccount(firstHostName, domain, password, true)
	if err != nil {
		return "", err
	}
	err = st.CreateAccount(ctx, a)
	if errors.Is(err, storage.ErrConflict) { // another node was quicker and has told its password
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return password, nil
}

// noteDomain remembers the domain in the database and warns when it is another
// one than at the last start: accounts belong to a domain.
func noteDomain(ctx context.Context, st Storage, domain string, log *slog.Logger) error {
	const key = "domain"
	last, err := st.Setting(ctx, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if last == domain {
		return nil
	}
	if last != "" {
		log.Warn("domain has changed: accounts of the old one can't log in", "old", last, "new", domain)
	}
	return st.SetSetting(ctx, key, domain)
}

// initialCredentials holds the first host's password while nobody signed in, if
// the program's output goes to the journal, which is kept for good.
const initialCredentials = "initial-credentials"

func saveInitialCredentials(dir, user, host, password string) error {
	text := fmt.Sprintf("user = \"%s@%s\"\npassword = \"%s\"\n", user, host, password)
	return writeFile(filepath.Join(dir, initialCredentials), []byte(text))
}

// removeInitialCredentials is called when the host signs in or gets another password.
func removeInitialCredentials(dir string) error {
	err := os.Remove(filepath.Join(dir, initialCredentials))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// toJournal reports whether f is connected to the systemd journal, which says so
// in $JOURNAL_STREAM (systemd.exec(5)).
func toJournal(f *os.File, getenv func(string) string) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
