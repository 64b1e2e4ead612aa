// Package postgres keeps the records of package storage in PostgreSQL (13 or
// later), for installations that have one or want several nodes.
//
// Rules of this package:
//   - A pool of connections; every statement ends after statementTimeout unless
//     the connection string says otherwise.
//   - Migrations run on one connection under an advisory lock, so nodes may start
//     at once.
//   - The connection string may hold a password: it is in no error and no log.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"confab/migrations"
	"confab/storage/tables"
)

const (
	statementTimeout = "5s"
	connectTimeout   = 10 * time.Second
)

// DB is a pool of connections to one database.
type DB struct {
	tables.Tables
	pool *pgxpool.Pool
}

// Open connects to a postgres:// address and brings the schema up to date. A
// schema made by a later program gives migrations.ErrNewer.
func Open(ctx context.Context, dsn string) (*DB, error) {
	cfg, where, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	d := &DB{Tables: tables.New(statements{pool}), pool: pool}
	if err := d.migrate(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return d, nil
}

// Versions returns the schema version of a database and the newest one this
// program knows; it changes nothing.
func Versions(ctx context.Context, dsn string) (have, known int, err error) {
	cfg, where, err := parse(dsn)
	if err != nil {
		return 0, 0, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", where, err)
	}
	have, known, err = migrations.Versions(ctx, session{conn}, migrations.Postgres)
	if err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", where, err)
	}
	return have, known, nil
}

// parse reads an address and says, without the password, where it leads.
func parse(dsn string) (cfg *pgxpool.Config, where string, err error) {
	cfg, err = pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, "", errors.New("database: not a valid postgres:// address") // pgx quotes the address
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	params := cfg.ConnConfig.RuntimeParams
	if _, set := params["statement_timeout"]; !set {
		params["statement_timeout"] = statementTimeout
	}
	if params["application_name"] == "" {
		params["application_name"] = "confab"
	}
	return cfg, fmt.Sprintf("database %s on %s", cfg.ConnConfig.Database, cfg.ConnConfig.Host), nil
}

func (d *DB) migrate(ctx context.Context) error {
	pooled, err := d.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	// Taken out of the pool and closed at the end: whatever a migration set on the
	// session, or left open after a lost network, goes with it.
	conn := pooled.Hijack()
	s := session{conn}
	// Rewriting a large table, or waiting for the node that does, may take long.
	err = s.Exec(ctx, "SET statement_timeout = 0")
	if err == nil {
		_, _, err = migrations.Apply(ctx, s, migrations.Postgres)
	}
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// session lets migrations use one connection.
type session struct{ conn *pgx.Conn }

// Exec uses the simple protocol, which takes several statements at once.
func (s session) Exec(ctx context.Context, query string) error {
	return s.conn.PgConn().Exec(ctx, query).Close()
}

func (s session) Int(ctx context.Context, query string) (n int, err error) {
	err = s.conn.QueryRow(ctx, query).Scan(&n)
	return n, err
}

// statements runs those of package tables.
type statements struct{ pool *pgxpool.Pool }

func (s statements) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := s.pool.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (s statements) Query(ctx context.Context, row func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return tables.Each(rows, row)
}

// Close waits for calls under way and closes the connections.
func (d *DB) Close() error {
	d.pool.Close()
	return nil
}
