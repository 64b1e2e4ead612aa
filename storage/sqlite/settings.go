package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"confab/storage"
)

// Setting returns the value of a key, or storage.ErrNotFound.
func (d *DB) Setting(ctx context.Context, key string) (value string, err error) {
	if !storage.IsText(key) {
		return "", storage.ErrNotFound
	}
	err = d.read.QueryRowContext(ctx, "SELECT value FROM settings WHERE key = ?", key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", storage.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("read setting %s: %w", key, err)
	}
	return value, nil
}

// SetSetting keeps value under key, whether or not there was one. The error is
// storage.ErrInvalid when one of them is not text or the key is empty.
func (d *DB) SetSetting(ctx context.Context, key, value string) error {
	if key == "" || !storage.IsText(key) || !storage.IsText(value) {
		return fmt.Errorf("setting: %w", storage.ErrInvalid)
	}
	_, err := d.exec(ctx, "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
		key, value)
	if err != nil {
		return fmt.Errorf("write setting %s: %w", key, err)
	}
	return nil
}

// DeleteSetting removes a key, or returns storage.ErrNotFound.
func (d *DB) DeleteSetting(ctx context.Context, key string) error {
	if !storage.IsText(key) {
		return storage.ErrNotFound
	}
	n, err := d.exec(ctx, "DELETE FROM settings WHERE key = ?", key)
	if err != nil {
		return fmt.Errorf("delete setting %s: %w", key, err)
	}
	if n == 0 {
		return storage.ErrNotFound
	}
	return nil
}
