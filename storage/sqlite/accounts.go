package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"confab/storage"
)

const accountColumns = `username, host, salt, iterations, sha1_stored_key, sha1_server_key,
	sha256_stored_key, sha256_server_key, is_host, created_at, updated_at`

// Account returns one account, or storage.ErrNotFound.
func (d *DB) Account(ctx context.Context, user, host string) (storage.Account, error) {
	if !storage.IsText(user) || !storage.IsText(host) {
		return storage.Account{}, storage.ErrNotFound
	}
	row := d.read.QueryRowContext(ctx,
		"SELECT "+accountColumns+" FROM accounts WHERE host = ? AND username = ?", host, user)
	a, err := scanAccount(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
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
	rows, err := d.read.QueryContext(ctx, "SELECT "+accountColumns+
		" FROM accounts WHERE ? IN ('', host) ORDER BY host, username", host)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	defer rows.Close()
	var list []storage.Account
	for rows.Next() {
		a, err := scanAccount(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
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
	now := time.Now().UnixMilli()
	n, err := d.exec(ctx, "INSERT INTO accounts ("+accountColumns+
		") VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
		a.User, a.Host, a.Salt, a.Iterations, a.SHA1StoredKey, a.SHA1ServerKey,
		a.SHA256StoredKey, a.SHA256ServerKey, a.IsHost, now, now)
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
	n, err := d.exec(ctx, `UPDATE accounts SET salt = ?, iterations = ?, sha1_stored_key = ?, sha1_server_key = ?,
		sha256_stored_key = ?, sha256_server_key = ?, is_host = ?, updated_at = ? WHERE host = ? AND username = ?`,
		a.Salt, a.Iterations, a.SHA1StoredKey, a.SHA1ServerKey,
		a.SHA256StoredKey, a.SHA256ServerKey, a.IsHost, time.Now().UnixMilli(), a.Host, a.User)
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
	n, err := d.exec(ctx, "DELETE FROM accounts WHERE host = ? AND username = ?", host, user)
	if err != nil {
		return fmt.Errorf("delete account: %w", err)
	}
	if n == 0 {
		return storage.ErrNotFound
	}
	return nil
}

func scanAccount(scan func(...any) error) (storage.Account, error) {
	var a storage.Account
	var created, updated int64
	err := scan(&a.User, &a.Host, &a.Salt, &a.Iterations, &a.SHA1StoredKey, &a.SHA1ServerKey,
		&a.SHA256StoredKey, &a.SHA256ServerKey, &a.IsHost, &created, &updated)
	a.CreatedAt, a.UpdatedAt = time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	return a, err
}

// exec runs one statement on the writer and returns the number of rows it changed.
func (d *DB) exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := d.write.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
