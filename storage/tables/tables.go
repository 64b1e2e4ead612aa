// Package tables keeps the records of package storage in SQL tables, by statements that
// SQLite and PostgreSQL both take; storage/sqlite and storage/postgres bring the database.
//
// Rules of this package:
//   - A statement stands here once. What only one database understands (opening,
//     migrating, its own order of strings) is not in it.
//   - Parameters are $1, $2, …; times go in as time.Time and come out as moment.
//   - Names that are not text never reach a database: they are not found.
package tables

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Database runs statements.
type Database interface {
	// Exec runs one statement and returns the number of rows it changed.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	// Query calls row for each row of the result, with what scans it, and ends at the
	// first error.
	Query(ctx context.Context, row func(scan func(...any) error) error, query string, args ...any) error
}

// Tables are the records in one database.
type Tables struct{ db Database }

// New keeps the records in db, whose schema is up to date.
func New(db Database) Tables { return Tables{db} }

// Rows are the result of a query, of either database.
type Rows interface {
	Next() bool
	Scan(to ...any) error
	Err() error
}

// Each calls row for each of the rows, with what scans it, and ends at the first error.
func Each(rows Rows, row func(scan func(...any) error) error) error {
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Ping reports whether the database answers; readiness asks it.
func (t Tables) Ping(ctx context.Context) error {
	found, err := list(ctx, t, "database", func(scan func(...any) error) (version int, err error) {
		err = scan(&version)
		return version, err
	}, "SELECT version FROM schema_version")
	if err == nil && len(found) == 0 {
		err = errors.New("database: without a schema")
	}
	return err
}

// change runs a statement that changes one record; none is the error if there was
// nothing for it to change. What says what was being done.
func (t Tables) change(ctx context.Context, what string, none error, query string, args ...any) error {
	n, err := t.db.Exec(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if n == 0 {
		return none
	}
	return nil
}

// list collects the rows of a query.
func list[T any](ctx context.Context, t Tables, what string, row func(scan func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	var out []T
	err := t.db.Query(ctx, func(scan func(...any) error) error {
		v, err := row(scan)
		out = append(out, v)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

// now is the time for a record: as precise as both databases keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// moment is a time that comes from a database: SQLite has Unix milliseconds,
// PostgreSQL a timestamptz.
type moment struct{ time.Time }

// Scan implements sql.Scanner.
func (m *moment) Scan(v any) error {
	switch v := v.(type) {
	case int64:
		m.Time = time.UnixMilli(v).UTC()
	case time.Time:
		m.Time = v.UTC()
	default:
		return fmt.Errorf("a time is kept as %T", v)
	}
	return nil
}
