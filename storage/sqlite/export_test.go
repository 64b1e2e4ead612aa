package sqlite

import "context"

// Pragma reads a setting of the connection that writes.
func Pragma(ctx context.Context, d *DB, name string) (value string, err error) {
	err = d.write.QueryRowContext(ctx, "PRAGMA "+name).Scan(&value)
	return value, err
}
