package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"confab/migrations"
	"confab/storage/sqlite"
	"confab/storage/storagetest"
)

func fresh(t *testing.T) string { return filepath.Join(t.TempDir(), "confab 50%?#.db") }

func open(ctx context.Context, path string) (storagetest.Store, error) { return sqlite.Open(ctx, path) }

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, fresh, open)
}

func TestKill(t *testing.T) {
	t.Parallel()
	storagetest.Kill(t, fresh, open)
}

func TestFilesAreReadableByTheOwnerOnly(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.SetSetting(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(files) < 2 { // the log is there while it is open
		t.Fatal(files, err)
	}
	for _, f := range files {
		if fi, err := os.Stat(f); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", filepath.Base(f), fi.Mode(), err)
		}
	}
}

func TestDurabilitySettings(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
		if got, err := sqlite.Pragma(t.Context(), db, pragma); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %s", pragma, got, err, want)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23", " ", "%20").Replace(path))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.ExecContext(t.Context(), "UPDATE schema_version SET version = 99"); err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(t.Context(), path)
	if !errors.Is(err, migrations.ErrNewer) || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("open: %v", err)
	}
	if have, known, err := sqlite.Versions(t.Context(), path); have != 99 || known < 1 || err != nil {
		t.Errorf("versions %d, %d: %v", have, known, err)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "missing", "confab.db")
	if _, err := sqlite.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("missing directory: %v", err)
	}
	path = filepath.Join(t.TempDir(), "confab.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("foreign file: %v", err)
	}
}
