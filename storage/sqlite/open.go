// Package sqlite keeps the records of package storage in one file.
//
// Rules of this package:
//   - One connection writes, so writers of this process queue in memory instead of
//     meeting SQLITE_BUSY; another process (confab user add) waits busyTimeout.
//   - WAL with synchronous=FULL: readers never wait for the writer and a commit is
//     on the disk before the call returns.
//   - The file is readable by its owner only, as it holds password keys.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the "sqlite" driver of database/sql

	"confab/migrations"
	"confab/storage/tables"
)

const (
	busyTimeout = 5 * time.Second
	maxReaders  = 4
)

// DB is an open database file.
type DB struct {
	tables.Tables
	write *sql.DB // one connection
	read  *sql.DB
}

// Open opens the database file at path, makes it (mode 0600) when it is not
// there, and brings its schema up to date. A schema made by a later program
// gives migrations.ErrNewer.
func Open(ctx context.Context, path string) (*DB, error) {
	d, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return d, nil
}

func open(ctx context.Context, path string) (_ *DB, err error) {
	if err := create(path); err != nil {
		return nil, err
	}
	d := &DB{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.write, err = handle(path, 1, "synchronous(FULL)", "foreign_keys(1)"); err != nil {
		return nil, err
	}
	// The mode is kept in the file; asked of the writer so that readers find it.
	var mode string
	if err := d.write.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return nil, fmt.Errorf("switch to write-ahead log: %w", err)
	}
	if mode != "wal" {
		return nil, fmt.Errorf("switch to write-ahead log: the file system allows %q only", mode)
	}
	if err := d.migrate(ctx); err != nil {
		return nil, err
	}
	if d.read, err = handle(path, maxReaders, "query_only(1)"); err != nil {
		return nil, err
	}
	d.Tables = tables.New(statements{d})
	return d, nil
}

// create makes an empty file that only its owner can read; SQLite gives the
// same mode to the log beside it. The directory is synced, or a power cut could
// take the whole file with it.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func handle(path string, conns int, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{
		"mode":                 {"rw"}, // the file is made by create, with its mode
		"_pragma":              append(pragmas, fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())),
		"_time_integer_format": {"unix_milli"},
	}
	name := url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func (d *DB) migrate(ctx context.Context) error {
	conn, err := d.write.Conn(ctx)
	if err != nil {
		return err
	}
	_, _, err = migrations.Apply(ctx, session{conn}, migrations.SQLite)
	return errors.Join(err, conn.Close())
}

// Versions returns the schema version of the file at path and the newest one this
// program knows; it neither makes nor changes the file.
func Versions(ctx context.Context, path string) (have, known int, err error) {
	db, err := handle(path, 1, "query_only(1)")
	if err != nil {
		return 0, 0, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, 0, errors.Join(err, db.Close())
	}
	have, known, err = migrations.Versions(ctx, session{conn}, migrations.SQLite)
	return have, known, errors.Join(err, conn.Close(), db.Close())
}

// session lets migrations use one connection.
type session struct{ conn *sql.Conn }

func (s session) Exec(ctx context.Context, query string) error {
	_, err := s.conn.ExecContext(ctx, query)
	return err
}

func (s session) Int(ctx context.Context, query string) (n int, err error) {
	err = s.conn.QueryRowContext(ctx, query).Scan(&n)
	return n, err
}

// statements runs those of package tables.
type statements struct{ *DB }

func (s statements) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := s.write.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (s statements) Query(ctx context.Context, row func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return tables.Each(rows, row)
}

// Close waits for calls under way and closes the file. The log is folded into
// the database when nobody else has it open.
func (d *DB) Close() error {
	var errs []error
	for _, db := range []*sql.DB{d.read, d.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
