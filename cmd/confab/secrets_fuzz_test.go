package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What can't be read of the secrets is told without them, and what is read is kept by
// the program when it adds what is missing.
func FuzzSecrets(f *testing.F) {
	f.Add("turn_secret = \"north\"\ncookie_key = \"x\"\n")
	f.Add("turn_secret = 5\n")
	f.Add("turn_secret = \"north")
	f.Add("later = \"a key of a later program\"\n[more]\nx = 1\n")
	dir := f.TempDir()
	path := filepath.Join(dir, secretsFile)
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		had, err := readSecrets(path)
		if err != nil {
			if len(text) > 20 && strings.Contains(err.Error(), text) {
				t.Errorf("%v", err)
			}
			return
		}
		made, err := loadSecrets(dir)
		if err != nil {
			t.Fatal(err)
		}
		if had.TURN != "" && made.TURN != had.TURN || made.TURN == "" || made.Cookie == "" || made.Token == "" {
			t.Error("secrets are lost, or not made")
		}
		// With the file that it has written the program starts again.
		if again, err := loadSecrets(dir); err != nil || again.TURN != made.TURN {
			t.Errorf("%v", err)
		}
	})
}
