package tables

import (
	"context"
	"fmt"

	"confab/storage"
)

// Setting returns the value of a key, or storage.ErrNotFound.
func (t Tables) Setting(ctx context.Context, key string) (string, error) {
	if !storage.IsText(key) {
		return "", storage.ErrNotFound
	}
	found, err := list(ctx, t, "read setting "+key, func(scan func(...any) error) (value string, err error) {
		err = scan(&value)
		return value, err
	}, "SELECT value FROM settings WHERE key = $1", key)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", storage.ErrNotFound
	}
	return found[0], nil
}

// SetSetting keeps value under key, whether or not there was one. The error is
// storage.ErrInvalid when one of them is not text or the key is empty.
func (t Tables) SetSetting(ctx context.Context, key, value string) error {
	if key == "" || !storage.IsText(key) || !storage.IsText(value) {
		return fmt.Errorf("setting: %w", storage.ErrInvalid)
	}
	return t.change(ctx, "write setting "+key, nil,
		"INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
}
