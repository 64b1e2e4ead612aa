package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"confab/storage"
)

// TURNUsers returns the users of one realm, or of all realms when realm is empty,
// ordered by realm and name.
func (d *DB) TURNUsers(ctx context.Context, realm string) ([]storage.TURNUser, error) {
	rows, err := d.pool.Query(ctx, `SELECT realm, name, key, created_at FROM turn_users
		WHERE $1 IN ('', realm) ORDER BY realm COLLATE "C", name COLLATE "C"`, realm)
	if err != nil {
		return nil, fmt.Errorf("list TURN users: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u storage.TURNUser, err error) {
		err = row.Scan(&u.Realm, &u.Name, &u.Key, &u.CreatedAt)
		u.CreatedAt = u.CreatedAt.UTC()
		return u, err
	})
	if err != nil {
		return nil, fmt.Errorf("list TURN users: %w", err)
	}
	return list, nil
}

// CreateTURNUser keeps a new user; its time is set here. The error is
// storage.ErrConflict when the realm has one of that name, storage.ErrInvalid when a
// field can't be kept.
func (d *DB) CreateTURNUser(ctx context.Context, u storage.TURNUser) error {
	if err := u.Validate(); err != nil {
		return err
	}
	n, err := d.exec(ctx, "INSERT INTO turn_users (realm, name, key, created_at) VALUES ($1,$2,$3,$4) ON CONFLICT DO NOTHING",
		u.Realm, u.Name, u.Key, time.Now().UTC().Truncate(time.Millisecond))
	if err != nil {
		return fmt.Errorf("create TURN user: %w", err)
	}
	if n == 0 {
		return storage.ErrConflict
	}
	return nil
}

// DeleteTURNUser removes a user, or returns storage.ErrNotFound.
func (d *DB) DeleteTURNUser(ctx context.Context, name, realm string) error {
	if !storage.IsText(name) || !storage.IsText(realm) {
		return storage.ErrNotFound
	}
	n, err := d.exec(ctx, "DELETE FROM turn_users WHERE realm = $1 AND name = $2", realm, name)
	if err != nil {
		return fmt.Errorf("delete TURN user: %w", err)
	}
	if n == 0 {
		return storage.ErrNotFound
	}
	return nil
}
