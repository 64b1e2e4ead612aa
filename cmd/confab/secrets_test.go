package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestSecretsAreMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := loadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.TURN) != 64 || len(first.Cookie) != 64 || first.TURN == first.Cookie {
		t.Error("not two secrets of 32 bytes each")
	}
	info, err := os.Stat(filepath.Join(dir, secretsFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again, err := loadSecrets(dir); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("the second start has other secrets: %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestMissingSecretsAreAdded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, secretsFile)
	const before = "# by hand, no line end\nturn_secret = \"of the operator\"\n[later]\nkey = 1"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := loadSecrets(dir)
	if err != nil || s.TURN != "of the operator" || len(s.Cookie) != 64 {
		t.Fatalf("turn_secret %q, %v", string(s.TURN), err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(text), before) {
		t.Errorf("the file lost something: %s, %v", text, err)
	}
	if again, err := loadSecrets(dir); err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("the second start has other secrets: %v", err)
	}
}

func TestBadSecretsFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"turn_secret = 'hunter2'", 0o640, "can be read by others (mode 0640)"},
		{"turn_secret = 'hunter2'", 0o604, "can be read by others (mode 0604)"},
		{"\nturn_secret = hunter2", 0o600, ":2: is no TOML"},
		{"turn_secret = ['hunter2']", 0o600, "is no list of names and strings"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, secretsFile)
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := loadSecrets(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s %04o: %v", c.text, c.mode, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != c.text {
			t.Errorf("the file was changed: %s, %v", text, err)
		}
	}
}
