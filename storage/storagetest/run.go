// Package storagetest is the one description of how a storage implementation
// behaves. storage/sqlite and storage/postgres both run it.
package storagetest

import (
	"context"
	"testing"

	"confab/storage"
)

// Store is what an implementation offers.
type Store interface {
	Account(ctx context.Context, user, host string) (storage.Account, error)
	Accounts(ctx context.Context, host string) ([]storage.Account, error)
	CreateAccount(ctx context.Context, a storage.Account) error
	UpdateAccount(ctx context.Context, a storage.Account) error
	DeleteAccount(ctx context.Context, user, host string) error

	Setting(ctx context.Context, key string) (string, error)
	SetSetting(ctx context.Context, key, value string) error

	TURNUsers(ctx context.Context, realm string) ([]storage.TURNUser, error)
	CreateTURNUser(ctx context.Context, u storage.TURNUser) error
	DeleteTURNUser(ctx context.Context, name, realm string) error

	Ping(ctx context.Context) error
	Close() error
}

// Run checks an implementation. New returns the address of a fresh, empty
// database that is removed at the end of the test; open opens such an address.
func Run(t *testing.T, fresh func(t *testing.T) string, open func(ctx context.Context, address string) (Store, error)) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, w world)
	}{
		{"an account is kept as it was given", keepsAccounts},
		{"an account exists once", accountOnce},
		{"an account is changed and removed", changesAccounts},
		{"accounts are listed in the order of bytes", listsAccounts},
		{"records that can't be kept are refused", refusesInvalid},
		{"names that are not text are not found", notText},
		{"of many who create one account, one succeeds", createRace},
		{"writers and readers don't disturb each other", readersAndWriters},
		{"settings", settings},
		{"users of the TURN server", turnUsers},
		{"everything is there after opening again", reopens},
		{"several processes may start at once", opensAtOnce},
		{"a cancelled call ends", cancelled},
		{"a closed database says so", closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, world{fresh(t), open})
		})
	}
}

// world is the database of one test.
type world struct {
	address string
	dial    func(ctx context.Context, address string) (Store, error)
}

// open opens the database and closes it at the end of the test.
func (w world) open(t *testing.T) Store {
	t.Helper()
	s, err := w.dial(t.Context(), w.address)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}
