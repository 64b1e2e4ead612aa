package tables

import (
	"cmp"
	"context"
	"slices"

	"confab/storage"
)

// TURNUsers returns the users of one realm, or of all realms when realm is empty,
// ordered by realm and name.
func (t Tables) TURNUsers(ctx context.Context, realm string) ([]storage.TURNUser, error) {
	found, err := list(ctx, t, "list TURN users", func(scan func(...any) error) (storage.TURNUser, error) {
		var u storage.TURNUser
		var created moment
		err := scan(&u.Realm, &u.Name, &u.Key, &created)
		u.CreatedAt = created.Time
		return u, err
	}, "SELECT realm, name, key, created_at FROM turn_users WHERE $1 IN ('', realm)", realm)
	slices.SortFunc(found, func(a, b storage.TURNUser) int {
		return cmp.Or(cmp.Compare(a.Realm, b.Realm), cmp.Compare(a.Name, b.Name))
	})
	return found, err
}

// CreateTURNUser keeps a new user; its time is set here. The error is
// storage.ErrConflict when the realm has one of that name, storage.ErrInvalid when a
// field can't be kept.
func (t Tables) CreateTURNUser(ctx context.Context, u storage.TURNUser) error {
	if err := u.Validate(); err != nil {
		return err
	}
	return t.change(ctx, "create TURN user", storage.ErrConflict,
		"INSERT INTO turn_users (realm, name, key, created_at) VALUES ($1,$2,$3,$4) ON CONFLICT DO NOTHING",
		u.Realm, u.Name, u.Key, now())
}

// DeleteTURNUser removes a user, or returns storage.ErrNotFound.
func (t Tables) DeleteTURNUser(ctx context.Context, name, realm string) error {
	if !storage.IsText(name) || !storage.IsText(realm) {
		return storage.ErrNotFound
	}
	return t.change(ctx, "delete TURN user", storage.ErrNotFound,
		"DELETE FROM turn_users WHERE realm = $1 AND name = $2", realm, name)
}
