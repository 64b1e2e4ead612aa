package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"confab/storage"
)

const accountColumns = `username, host, salt, iterations, sha1_stored_key, sha1_server_key,
	sha256_stored_key, sha256_server_key, is_host, created_at, updated_at`

// Account returns one account, or storage.ErrNotFound.
func (d *DB) Account(ctx context.Context, user, host string) (storage.Account, error) {
	if !storage.IsText(user) || !storage.IsText(host) {
		return storage.Account{}, storage.ErrNotFound
	}
	row := d.pool.QueryRow(ctx,
		"SELECT "+accountColumns+" FROM accounts WHERE host = $1 AND username = $2", host, user)
	a, err := scanAccount(row)
	if errors.Is(err, pgx.ErrNoRows) {
		return storage.Account{}, storage.ErrNotFound
	}
	if err != nil {
		return storage.Account{}, fmt.Errorf("read account: %w", err)
	}
	return a, nil
}

// Accounts returns the accounts of one host, or of all hosts when host is empty,
// ordered by host and user.
func (d *DB) Accounts(ctx context.Context, host string) ([]storage.Account, error) {
	// COLLATE "C": by bytes, as SQLite does, whatever the database was made with.
	rows, err := d.pool.Query(ctx, "SELECT "+accountColumns+
		` FROM accounts WHERE $1 IN ('', host) ORDER BY host COLLATE "C", username COLLATE "C"`, host)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (storage.Account, error) { return scanAccount(row) })
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return list, nil
}

// CreateAccount keeps a new account; its times are set here. The error is
// storage.ErrConflict when user@host exists, storage.ErrInvalid when a field
// can't be kept.
func (d *DB) CreateAccount(ctx context.Context, a storage.Account) error {
	if err := a.Validate(); err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	n, err := d.exec(ctx, "INSERT INTO accounts ("+accountColumns+
		") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$10) ON CONFLICT DO NOTHING",
		a.User, a.Host, a.Salt, a.Iterations, a.SHA1StoredKey, a.SHA1ServerKey,
		a.SHA256StoredKey, a.SHA256ServerKey, a.IsHost, now)
	if err != nil {
		return fmt.Errorf("create account: %w", err)
	}
	if n == 0 {
		return storage.ErrConflict
	}
	return nil
}

// UpdateAccount replaces keys and flags of an account and sets its time of
// change. The error is storage.ErrNotFound or storage.ErrInvalid.
func (d *DB) UpdateAccount(ctx context.Context, a storage.Account) error {
	if err := a.Validate(); err != nil {
		return err
	}
	n, err := d.exec(ctx, `UPDATE accounts SET salt = $3, iterations = $4, sha1_stored_key = $5, sha1_server_key = $6,
		sha256_stored_key = $7, sha256_server_key = $8, is_host = $9, updated_at = $10
		WHERE username = $1 AND host = $2`,
		a.User, a.Host, a.Salt, a.Iterations, a.SHA1StoredKey, a.SHA1ServerKey,
		a.SHA256StoredKey, a.SHA256ServerKey, a.IsHost, time.Now().UTC().Truncate(time.Millisecond))
	if err != nil {
		return fmt.Errorf("update account: %w", err)
	}
	if n == 0 {
		return storage.ErrNotFound
	}
	return nil
}

// DeleteAccount removes an account, or returns storage.ErrNotFound.
func (d *DB) DeleteAccount(ctx context.Context, user, host string) error {
	if !storage.IsText(user) || !storage.IsText(host) {
		return storage.ErrNotFound
	}
	n, err := d.exec(ctx, "DELETE FROM accounts WHERE host = $1 AND username = $2", host, user)
	if err != nil {
		return fmt.Errorf("delete account: %w", err)
	}
	if n == 0 {
		return storage.ErrNotFound
	}
	return nil
}

func scanAccount(row pgx.Row) (storage.Account, error) {
	var a storage.Account
	err := row.Scan(&a.User, &a.Host, &a.Salt, &a.Iterations, &a.SHA1StoredKey, &a.SHA1ServerKey,
		&a.SHA256StoredKey, &a.SHA256ServerKey, &a.IsHost, &a.CreatedAt, &a.UpdatedAt)
	a.CreatedAt, a.UpdatedAt = a.CreatedAt.UTC(), a.UpdatedAt.UTC()
	return a, err
}

// exec runs one statement and returns the number of rows it changed.
func (d *DB) exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := d.pool.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}
