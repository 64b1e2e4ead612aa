package migrations

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

func TestSameNumbersAndNamesForBothDatabases(t *testing.T) {
	t.Parallel()
	lite, err := Steps(SQLite)
	if err != nil {
		t.Fatal(err)
	}
	pg, err := Steps(Postgres)
	if err != nil {
		t.Fatal(err)
	}
	if len(lite) == 0 || len(lite) != len(pg) {
		t.Fatalf("%d files for SQLite, %d for PostgreSQL", len(lite), len(pg))
	}
	for i := range lite {
		if lite[i].Name != pg[i].Name {
			t.Errorf("%04d is %s for SQLite and %s for PostgreSQL", i+1, lite[i].Name, pg[i].Name)
		}
	}
}

// The runner is the same for both databases; here it meets steps that the
// product does not have yet.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	real, err := Steps(SQLite)
	if err != nil {
		t.Fatal(err)
	}
	apply01 := func(steps []Step, wantFrom, wantTo int) {
		t.Helper()
		if from, to, err := apply(t.Context(), s, SQLite, steps); err != nil || from != wantFrom || to != wantTo {
			t.Fatalf("from %d to %d: %v", from, to, err)
		}
	}
	// A database made by the first version, with data in it.
	apply01(real[:1], 0, 1)
	s.must(t, "INSERT INTO settings VALUES ('domain', 'meet.example')")

	steps := append(real[:1:1],
		Step{2, "rename", "ALTER TABLE settings RENAME COLUMN value TO content; CREATE TABLE two (a TEXT)"},
		Step{3, "broken", "CREATE TABLE three (a TEXT); CREATE TABLE two (a TEXT)"})

	// The third step fails half way: the second stays, nothing of the third does.
	_, to, err := apply(t.Context(), s, SQLite, steps)
	if err == nil || to != 2 || !strings.Contains(err.Error(), "0003 broken") {
		t.Fatalf("at %d: %v", to, err)
	}
	if n := s.must(t, "SELECT count(*) FROM sqlite_schema WHERE name = 'three'"); n != 0 {
		t.Error("a failed step left a table behind")
	}
	if n := s.must(t, "SELECT count(*) FROM settings WHERE content = 'meet.example'"); n != 1 {
		t.Error("the data did not survive the upgrade")
	}
	// A corrected program goes on from there.
	steps[2] = Step{3, "mended", "CREATE TABLE three (a TEXT)"}
	apply01(steps, 2, 3)
	apply01(steps, 3, 3)

	// An older program refuses and names both versions.
	_, _, err = apply(t.Context(), s, SQLite, steps[:2])
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 3") || !strings.Contains(err.Error(), "up to 2") {
		t.Errorf("older program: %v", err)
	}
}

type session struct{ conn *sql.Conn }

func newSession(t *testing.T) session {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return session{conn}
}

func (s session) Exec(ctx context.Context, query string) error {
	_, err := s.conn.ExecContext(ctx, query)
	return err
}

func (s session) Int(ctx context.Context, query string) (n int, err error) {
	err = s.conn.QueryRowContext(ctx, query).Scan(&n)
	return n, err
}

// must runs one statement and returns its number, if it yields one.
func (s session) must(t *testing.T, query string) (n int) {
	t.Helper()
	err := s.conn.QueryRowContext(t.Context(), query).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	return n
}
