package main

// data_dir/secrets.toml: what the server must know again after a restart and
// nobody else may know.

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
	"confab/extdisco/token"
)

// Secrets are made at the first start, 32 random bytes each, in hexadecimal, but for
// the key of tokens.
type Secrets struct {
	// TURN signs the credentials given to clients while turn.secrets is empty. Older
	// are those before it, the latest first (rotate.go).
	TURN  config.Secret `toml:"turn_secret"`
	Older []olderSecret `toml:"turn_secrets_old"`
	// Cookie signs what clients bring back: it keeps SCRAM's answers for
	// unknown accounts the same over restarts.
	Cookie config.Secret `toml:"cookie_key"`
	// Token signs the tokens for the store of shared files: an RSA key.
	Token config.Secret `toml:"token_key"`
}

// olderSecret still verifies until its end.
type olderSecret struct {
	Secret config.Secret `toml:"secret"`
	Until  time.Time     `toml:"until"`
}

// inForce are the secrets of the relay: the one that signs, and those that have not
// run out.
func (s Secrets) inForce(now time.Time) []credential.Secret {
	out := []credential.Secret{{Value: string(s.TURN)}}
	for _, o := range s.Older {
		if now.Before(o.Until) {
			out = append(out, credential.Secret{Value: string(o.Secret), Until: o.Until})
		}
	}
	return out
}

// secretsFile is the name below data_dir.
const secretsFile = "secrets.toml"

// loadSecrets reads dir/secrets.toml, makes it when it is missing and adds what
// an older program did not know. A file that others can read is refused.
func loadSecrets(dir string) (Secrets, error) {
	path := filepath.Join(dir, secretsFile)
	s, err := readSecrets(path)
	if err != nil {
		return Secrets{}, fmt.Errorf("secrets: %w", err)
	}
	missing := ""
	for _, f := range []struct {
		name  string
		value *config.Secret
		make  func() (config.Secret, error)
	}{{"turn_secret", &s.TURN, newSecret}, {"cookie_key", &s.Cookie, newSecret}, {"token_key", &s.Token, newTokenKey}} {
		if *f.value == "" {
			if *f.value, err = f.make(); err != nil {
				return Secrets{}, fmt.Errorf("secrets: %w", err)
			}
			missing += fmt.Sprintf("%s = %q\n", f.name, string(*f.value))
		}
	}
	if missing == "" {
		return s, nil
	}
	// What is there stays as it is, also keys that a later program added.
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		missing = "# Made by confab. Whoever reads this can relay media through the server.\n" + missing
	} else if err != nil {
		return Secrets{}, fmt.Errorf("secrets: %w", err)
	}
	if err := writeFile(path, append([]byte(missing), text...)); err != nil {
		return Secrets{}, fmt.Errorf("secrets: %w", err)
	}
	return s, nil
}

// readSecrets reads the file; without one the secrets are empty.
func readSecrets(path string) (s Secrets, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return s, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it, and replace the secrets if somebody may have read it", path, mode)
	}
	if _, err := toml.NewDecoder(f).Decode(&s); err != nil {
		// The decoder quotes what it could not read, which may be a secret.
		if parse, ok := errors.AsType[toml.ParseError](err); ok {
			return s, fmt.Errorf("%s:%d: is no TOML", path, parse.Position.Line)
		}
		return s, fmt.Errorf("%s: is no list of names and strings", path)
	}
	return s, nil
}

func newSecret() (config.Secret, error) {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	return config.Secret(hex.EncodeToString(b)), nil
}

func newTokenKey() (config.Secret, error) {
	key, err := token.NewSecret()
	return config.Secret(key), err
}

// writeFile replaces path by data, readable by its owner only. After a power cut
// there is the old file or the new one, never half of it.
func writeFile(path string, data []byte) (err error) {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+strings.TrimPrefix(name, ".")+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
