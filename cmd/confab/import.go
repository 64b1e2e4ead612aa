package main

// confab import: our configuration out of that of another server.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"confab/cmd/confab/config"
	"confab/cmd/confab/importer"
)

// importMax bounds the file that is read, in bytes.
const importMax = 1 << 20

// importFile is "confab import". The configuration goes to stdout or a file, what is to
// be said about it to stderr, so that stdout can be redirected.
func (p *program) importFile(args []string) error {
	flags := p.flagSet("import")
	out := flags.String("o", "", "`FILE` to write to, which others can't read (import)")
	relayOnly := flags.Bool("relay-only", false, "for a host that does nothing but relay (import)")
	rest, err := p.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usageError("import: one file expected, such as /etc/turnserver.conf")
	}
	path := rest[0]
	text, err := readLimited(path)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if !importer.IsCoturn(text) {
		return fmt.Errorf("import: %s is no configuration of coturn: none of its options is there", path)
	}
	c := importer.FromCoturn(text, dir, *relayOnly)
	c.Say(p.stderr, path)
	if c.Refused() {
		return errors.New("import: refused, nothing is written")
	}
	result := c.TOML(path)
	if err := config.Check(result); err != nil {
		return fmt.Errorf("import: the result would not be accepted, nothing is written: %w", err)
	}
	io.WriteString(p.stderr, c.Summary())
	if *out == "" {
		if f, ok := p.stdout.(*os.File); ok && c.HasSecrets() && readableByOthers(f) {
			fmt.Fprintf(p.stderr, "confab: warning: what is written to can be read by others, and there are secrets in it: chmod 600, or use -o\n")
		}
		_, err = io.WriteString(p.stdout, result)
		return err
	}
	if err := writeNew(*out, result); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		fmt.Fprintf(p.stderr, "%s belongs to root; the user that the service runs as must be able to read it: chown confab %s\n", *out, importer.ShellWord(*out))
	}
	return nil
}

func readLimited(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, importMax+1))
	if err == nil && len(text) > importMax {
		err = fmt.Errorf("%s is larger than %d bytes", path, importMax)
	}
	return string(text), err
}

// writeNew writes a file that only its owner can read, and overwrites none.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("import: %s is there already: move it away, or name another file", path)
	}
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// readableByOthers reports whether f is a file that more than its owner can read.
func readableByOthers(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
}
