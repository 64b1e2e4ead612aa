package tables

import (
	"cmp"
	"context"
	"slices"

	"confab/storage"
)

const accountColumns = `username, host, salt, iterations, sha1_stored_key, sha1_server_key,
	sha256_stored_key, sha256_server_key, is_host, created_at, updated_at`

// Account returns one account, or storage.ErrNotFound.
func (t Tables) Account(ctx context.Context, user, host string) (storage.Account, error) {
	if !storage.IsText(user) || !storage.IsText(host) {
		return storage.Account{}, storage.ErrNotFound
	}
	found, err := list(ctx, t, "read account", scanAccount,
		"SELECT "+accountColumns+" FROM accounts WHERE host = $1 AND username = $2", host, user)
	if err != nil {
		return storage.Account{}, err
	}
	if len(found) == 0 {
		return storage.Account{}, storage.ErrNotFound
	}
	return found[0], nil
}

// Accounts returns the accounts of one host, or of all hosts when host is empty,
// ordered by host and user.
func (t Tables) Accounts(ctx context.Context, host string) ([]storage.Account, error) {
	found, err := list(ctx, t, "list accounts", scanAccount,
		"SELECT "+accountColumns+" FROM accounts WHERE $1 IN ('', host)", host)
	slices.SortFunc(found, func(a, b storage.Account) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.User, b.User))
	})
	return found, err
}

// CreateAccount keeps a new account; its times are set here. The error is
// storage.ErrConflict when user@host exists, storage.ErrInvalid when a field
// can't be kept.
func (t Tables) CreateAccount(ctx context.Context, a storage.Account) error {
	if err := a.Validate(); err != nil {
		return err
	}
	return t.change(ctx, "create account", storage.ErrConflict, "INSERT INTO accounts ("+accountColumns+
		") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$10) ON CONFLICT DO NOTHING",
		a.User, a.Host, a.Salt, a.Iterations, a.SHA1StoredKey, a.SHA1ServerKey,
		a.SHA256StoredKey, a.SHA256ServerKey, a.IsHost, now())
}

// UpdateAccount replaces keys and flags of an account and sets its time of
// change. The error is storage.ErrNotFound or storage.ErrInvalid.
func (t Tables) UpdateAccount(ctx context.Context, a storage.Account) error {
	if err := a.Validate(); err != nil {
		return err
	}
	return t.change(ctx, "update account", storage.ErrNotFound,
		`UPDATE accounts SET salt = $3, iterations = $4, sha1_stored_key = $5, sha1_server_key = $6,
		sha256_stored_key = $7, sha256_server_key = $8, is_host = $9, updated_at = $10
		WHERE username = $1 AND host = $2`,
		a.User, a.Host, a.Salt, a.Iterations, a.SHA1StoredKey, a.SHA1ServerKey,
		a.SHA256StoredKey, a.SHA256ServerKey, a.IsHost, now())
}

// DeleteAccount removes an account, or returns storage.ErrNotFound.
func (t Tables) DeleteAccount(ctx context.Context, user, host string) error {
	if !storage.IsText(user) || !storage.IsText(host) {
		return storage.ErrNotFound
	}
	return t.change(ctx, "delete account", storage.ErrNotFound,
		"DELETE FROM accounts WHERE host = $1 AND username = $2", host, user)
}

func scanAccount(scan func(...any) error) (storage.Account, error) {
	var a storage.Account
	var created, updated moment
	err := scan(&a.User, &a.Host, &a.Salt, &a.Iterations, &a.SHA1StoredKey, &a.SHA1ServerKey,
		&a.SHA256StoredKey, &a.SHA256ServerKey, &a.IsHost, &created, &updated)
	a.CreatedAt, a.UpdatedAt = created.Time, updated.Time
	return a, err
}
