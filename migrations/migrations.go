// Package migrations holds the database schema as numbered SQL files and brings
// a database up to date.
//
// Rules of this package:
//   - Files are migrations/{sqlite,postgres}/NNNN_name.sql, numbered from 1
//     without gaps, the same numbers and names for both databases.
//   - A file that has been released is never edited. There is no way back:
//     a schema newer than the program is refused.
//   - Each file runs in one transaction together with the new schema_version, so
//     a crash leaves the database at a whole version.
//   - Several processes may start at once: the step is decided under the lock of
//     the database.
package migrations

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// ErrNewer says that the schema was made by a later program than this one.
var ErrNewer = errors.New("database schema is newer than this program")

// Step is one file.
type Step struct {
	Version int
	Name    string
	SQL     string
}

// Dialect is what differs between the databases when migrating.
type Dialect struct {
	dir    string
	begin  string // starts a transaction in which the version can't change under us
	exists string // yields 1 when the schema_version table is there, else 0
}

// The two databases. In PostgreSQL an advisory lock, held to the end of the
// transaction, does what BEGIN IMMEDIATE does in SQLite.
var (
	SQLite = Dialect{
		dir:    "sqlite",
		begin:  "BEGIN IMMEDIATE",
		exists: "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'",
	}
	Postgres = Dialect{
		dir:    "postgres",
		begin:  "BEGIN; SELECT pg_advisory_xact_lock(1129270854)", // "CONF"
		exists: "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_version'",
	}
)

// Session is one database connection, used by nobody else meanwhile.
type Session interface {
	// Exec runs one or more statements without arguments.
	Exec(ctx context.Context, sql string) error
	// Int runs a query that yields one row with one integer.
	Int(ctx context.Context, sql string) (int, error)
}

// Steps returns the files of a dialect in order.
func Steps(d Dialect) ([]Step, error) {
	entries, err := fs.ReadDir(files, d.dir) // sorted by name
	if err != nil {
		return nil, err
	}
	steps := make([]Step, 0, len(entries))
	for i, e := range entries {
		number, rest, _ := strings.Cut(e.Name(), "_")
		if v, err := strconv.Atoi(number); err != nil || len(number) != 4 || v != i+1 {
			return nil, fmt.Errorf("migration %s/%s: number %04d expected", d.dir, e.Name(), i+1)
		}
		sql, err := fs.ReadFile(files, d.dir+"/"+e.Name())
		if err != nil {
			return nil, err
		}
		steps = append(steps, Step{Version: i + 1, Name: strings.TrimSuffix(rest, ".sql"), SQL: string(sql)})
	}
	return steps, nil
}

// Apply brings the database behind s to the newest version and returns the
// versions before and after. A schema that is newer than the last step gives
// ErrNewer, wrapped with both versions.
func Apply(ctx context.Context, s Session, d Dialect) (from, to int, err error) {
	steps, err := Steps(d)
	if err != nil {
		return 0, 0, err
	}
	return apply(ctx, s, d, steps)
}

// Versions returns the version a database has, 0 when it is empty, and the newest
// one this program knows. It changes nothing.
func Versions(ctx context.Context, s Session, d Dialect) (have, known int, err error) {
	steps, err := Steps(d)
	if err != nil {
		return 0, 0, err
	}
	have, err = version(ctx, s, d)
	return have, len(steps), err
}

func apply(ctx context.Context, s Session, d Dialect, steps []Step) (from, to int, err error) {
	// Without a lock first: a database that is up to date is only read.
	if from, err = version(ctx, s, d); err != nil {
		return 0, 0, err
	}
	to = from
	for to < len(steps) {
		if to, err = next(ctx, s, d, steps); err != nil {
			return from, to, err
		}
	}
	if to > len(steps) {
		return from, to, fmt.Errorf("%w: it has version %d, this program knows up to %d", ErrNewer, to, len(steps))
	}
	return from, to, nil
}

// next applies the first step that the database lacks and returns the version it
// then has. Another process may have been quicker; then nothing is done.
func next(ctx context.Context, s Session, d Dialect, steps []Step) (now int, err error) {
	if err := s.Exec(ctx, d.begin); err != nil {
		return 0, fmt.Errorf("migrate: lock: %w", err)
	}
	defer func() {
		if err != nil { // ctx may be what failed: the connection must not stay inside the transaction
			err = errors.Join(err, s.Exec(context.WithoutCancel(ctx), "ROLLBACK"))
		}
	}()
	have, err := version(ctx, s, d)
	if err != nil {
		return 0, err
	}
	if have < len(steps) {
		step := steps[have]
		if have == 0 {
			if err := s.Exec(ctx, "CREATE TABLE schema_version (version integer NOT NULL); INSERT INTO schema_version VALUES (0)"); err != nil {
				return 0, fmt.Errorf("migrate: create schema_version: %w", err)
			}
		}
		if err := s.Exec(ctx, step.SQL); err != nil {
			return have, fmt.Errorf("migrate to %04d %s: %w", step.Version, step.Name, err)
		}
		if err := s.Exec(ctx, fmt.Sprintf("UPDATE schema_version SET version = %d", step.Version)); err != nil {
			return have, fmt.Errorf("migrate to %04d %s: %w", step.Version, step.Name, err)
		}
		have = step.Version
	}
	if err := s.Exec(ctx, "COMMIT"); err != nil {
		return 0, fmt.Errorf("migrate: commit: %w", err)
	}
	return have, nil
}

// version returns the schema's version, 0 for an empty database.
func version(ctx context.Context, s Session, d Dialect) (int, error) {
	exists, err := s.Int(ctx, d.exists)
	if err != nil {
		return 0, fmt.Errorf("migrate: look for schema_version: %w", err)
	}
	if exists == 0 {
		return 0, nil
	}
	v, err := s.Int(ctx, "SELECT version FROM schema_version")
	if err != nil {
		return 0, fmt.Errorf("migrate: read schema_version: %w", err)
	}
	return v, nil
}
