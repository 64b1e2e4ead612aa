package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"confab/cmd/confab/config"
	"confab/storage"
	"confab/storage/postgres"
	"confab/storage/sqlite"
)

// Storage is all that the program keeps; its parts declare the few methods each
// of them needs.
type Storage interface {
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

// openStorage opens the database and brings its schema up to date.
func openStorage(ctx context.Context, cfg config.Config) (Storage, error) {
	if cfg.Database != "" {
		db, err := postgres.Open(ctx, string(cfg.Database))
		if err != nil {
			return nil, err
		}
		return db, nil
	}
	db, err := sqlite.Open(ctx, sqlitePath(cfg))
	if err != nil {
		return nil, err
	}
	return db, nil
}

func sqlitePath(cfg config.Config) string { return filepath.Join(cfg.DataDir, "confab.db") }

// makeDataDir makes the directory, for its owner only.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// dataLock is held by the server that uses a data directory. Commands such as
// "confab user add" work beside it, a second server doesn't.
type dataLock struct{ file *os.File }

const lockFile = "confab.lock"

// lockDataDir takes the lock, or says which process has it. The kernel frees it
// when the process ends, however it ends.
func lockDataDir(dir string) (*dataLock, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		text, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		return nil, fmt.Errorf("data directory %s is in use by a running confab, process %s", dir, strings.TrimSpace(string(text)))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return &dataLock{f}, nil
}

// Close gives the directory free.
func (l *dataLock) Close() error { return l.file.Close() }

// runningServer returns the process that holds the data directory, 0 for none.
func runningServer(dir string) (pid int, err error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
