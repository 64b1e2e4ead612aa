// Package storage declares the records that outlive the process; storage/sqlite
// and storage/postgres keep them.
//
// Rules of this package:
//   - Records are plain values: no types of other packages, no methods that reach
//     a database.
//   - A call that returns nil has been written to disk: kill -9 or a power cut
//     directly after it loses nothing.
//   - Who uses storage declares the methods it calls. Both implementations offer
//     the same set with the same behaviour; storagetest is where that is written.
//   - Names are compared byte by byte: callers bring them prepared (RFC 7622).
//   - No room's or conference's goroutine calls storage: it may wait for a disk.
package storage

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	// ErrNotFound is returned when the named record does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict is returned when a record of that name exists already.
	ErrConflict = errors.New("exists already")
	// ErrInvalid is returned, wrapped with the field, for a record that must not
	// be kept.
	ErrInvalid = errors.New("invalid record")
)

// Account is someone who can log in, with what SCRAM keeps of the password
// (RFC 5802 §3): both hashes share salt and iteration count.
type Account struct {
	User string // localpart
	Host string // domainpart

	Salt            []byte
	Iterations      int
	SHA1StoredKey   []byte // 20 bytes
	SHA1ServerKey   []byte // 20 bytes
	SHA256StoredKey []byte // 32 bytes
	SHA256ServerKey []byte // 32 bytes

	// IsHost lets the account open rooms and makes it moderator where it goes.
	IsHost bool

	// Set by storage, in UTC and whole milliseconds.
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Validate returns ErrInvalid, wrapped, when a field can't be kept.
func (a Account) Validate() error {
	switch {
	case !validPart(a.User):
		return fmt.Errorf("account user: %w", ErrInvalid)
	case !validPart(a.Host):
		return fmt.Errorf("account host: %w", ErrInvalid)
	case len(a.Salt) == 0 || len(a.Salt) > 255:
		return fmt.Errorf("account %s@%s: salt: %w", a.User, a.Host, ErrInvalid)
	case a.Iterations < 1 || a.Iterations > 1<<30:
		return fmt.Errorf("account %s@%s: iterations: %w", a.User, a.Host, ErrInvalid)
	case len(a.SHA1StoredKey) != 20 || len(a.SHA1ServerKey) != 20 ||
		len(a.SHA256StoredKey) != 32 || len(a.SHA256ServerKey) != 32:
		return fmt.Errorf("account %s@%s: keys: %w", a.User, a.Host, ErrInvalid)
	}
	return nil
}

// TURNUser is a long-term user of the TURN server. Who has its key needs no password.
type TURNUser struct {
	Name, Realm string
	Key         []byte // 16 bytes: MD5(Name:Realm:password), RFC 8489 §9.2.2

	CreatedAt time.Time // set by storage, in UTC and whole milliseconds
}

// Validate returns ErrInvalid, wrapped, when a field can't be kept.
func (u TURNUser) Validate() error {
	switch {
	case u.Name == "" || len(u.Name) > 508 || !IsText(u.Name): // RFC 8489 §14.3
		return fmt.Errorf("TURN user name: %w", ErrInvalid)
	case u.Realm == "" || len(u.Realm) > 763 || !IsText(u.Realm): // RFC 8489 §14.9
		return fmt.Errorf("TURN user realm: %w", ErrInvalid)
	case len(u.Key) != 16:
		return fmt.Errorf("TURN user %s: key: %w", u.Name, ErrInvalid)
	}
	return nil
}

// validPart reports whether s can be a localpart or domainpart (RFC 7622 §3.2,
// §3.3: at most 1023 bytes).
func validPart(s string) bool { return s != "" && len(s) <= 1023 && IsText(s) }

// IsText reports whether both databases can hold s as text: UTF-8 without NUL.
// A name that is not text is not found; it is never an error of the database.
func IsText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
