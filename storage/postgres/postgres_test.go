package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"confab/migrations"
	"confab/storage/postgres"
	"confab/storage/storagetest"
)

// fresh makes an empty schema in the database of CONFAB_TEST_POSTGRES, which
// test/postgres.sh starts.
func fresh(t *testing.T) string {
	t.Helper()
	dsn := os.Getenv("CONFAB_TEST_POSTGRES")
	schema := "test_" + strings.ToLower(rand.Text())
	execute(t, dsn, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { execute(t, dsn, "DROP SCHEMA "+schema+" CASCADE") })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

func open(ctx context.Context, dsn string) (storagetest.Store, error) { return postgres.Open(ctx, dsn) }

func execute(t *testing.T, dsn, query string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // also called from Cleanup
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func needPostgres(t *testing.T) {
	t.Helper()
	if os.Getenv("CONFAB_TEST_POSTGRES") == "" {
		t.Skip("CONFAB_TEST_POSTGRES is not set: run it by test/postgres.sh")
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	storagetest.Run(t, fresh, open)
}

func TestKill(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	storagetest.Kill(t, fresh, open)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	dsn := fresh(t)
	db, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, dsn, "UPDATE schema_version SET version = 99")
	_, err = postgres.Open(t.Context(), dsn)
	if !errors.Is(err, migrations.ErrNewer) || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("open: %v", err)
	}
	if have, known, err := postgres.Versions(t.Context(), dsn); have != 99 || known < 1 || err != nil {
		t.Errorf("versions %d, %d: %v", have, known, err)
	}
}

func TestErrorsHideThePassword(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://confab:hunter2@127.0.0.1:1/confab",
		"postgres://confab:hunter2@127.0.0.1:notaport/confab",
		"postgres://confab:hunter2@%zz/confab",
	} {
		_, err := postgres.Open(t.Context(), dsn)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("open %s: %v", dsn, err)
		}
	}
}
