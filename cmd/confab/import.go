package main

// confab import: our configuration out of that of another server.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
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
	if !looksLikeCoturn(text) {
		return fmt.Errorf("import: %s is no configuration of coturn: none of its options is there", path)
	}
	c := importCoturn(text, dir, *relayOnly)
	c.say(p.stderr, path)
	if slices.ContainsFunc(c.findings, func(f finding) bool { return f.kind == makesRefusal }) {
		return errors.New("import: refused, nothing is written")
	}
	result := c.toml(path)
	if err := acceptable(result); err != nil {
		return fmt.Errorf("import: the result would not be accepted, nothing is written: %w", err)
	}
	io.WriteString(p.stderr, c.summary())
	if *out == "" {
		if f, ok := p.stdout.(*os.File); ok && c.hasSecrets() && readableByOthers(f) {
			fmt.Fprintf(p.stderr, "confab: warning: what is written to can be read by others, and there are secrets in it: chmod 600, or use -o\n")
		}
		_, err = io.WriteString(p.stdout, result)
		return err
	}
	if err := writeNew(*out, result); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		fmt.Fprintf(p.stderr, "%s belongs to root; the user that the service runs as must be able to read it: chown confab %s\n", *out, shellWord(*out))
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

func looksLikeCoturn(text string) bool {
	lines, _ := readCoturn(text)
	return slices.ContainsFunc(lines, func(l coturnLine) bool {
		_, known := coturnOptions[l.name]
		return known
	})
}

// acceptable checks a configuration as a start does.
func acceptable(text string) error {
	var cfg Config
	if _, err := toml.Decode(defaultTOML, &cfg); err != nil {
		return err
	}
	md, err := toml.Decode(text, &cfg)
	if err != nil {
		return err
	}
	if left := md.Undecoded(); len(left) > 0 {
		return fmt.Errorf("there is no key %s", left[0])
	}
	cfg.Domain, cfg.DataDir = "meet.example.org", "/var/lib/confab" // not set by an import; the machine is not asked
	cfg.derive()
	if problems := cfg.validate(); len(problems) > 0 {
		return ConfigError(problems)
	}
	return nil
}

// say tells the findings as "path:line: …", what is the same of several lines once.
func (c *coturnImport) say(w io.Writer, path string) {
	lines := map[string][]int{}
	for _, f := range c.findings {
		lines[f.String()] = append(lines[f.String()], f.line)
	}
	for _, f := range c.findings {
		at, first := lines[f.String()], lines[f.String()] != nil
		delete(lines, f.String())
		switch {
		case !first:
		case f.line == 0:
			fmt.Fprintf(w, "%s: %s\n", path, f)
		default:
			fmt.Fprintf(w, "%s:%s: %s\n", path, strings.ReplaceAll(spans(at), " ", ""), f)
		}
	}
}

func (f finding) String() string { return f.kind.String() + ": " + f.text }

func (c *coturnImport) hasSecrets() bool {
	_, ok := c.keys["turn.secrets"]
	return ok
}

// summary is the end of what is said: how much it was, and what holds for what the
// file does not say.
func (c *coturnImport) summary() string {
	var text strings.Builder
	lost := 0
	for _, f := range c.findings {
		if f.kind == notCarried {
			lost++
		}
	}
	fmt.Fprintf(&text, "%s set, %s not carried over.\n", plural(len(c.keys), "key"), plural(lost, "line"))
	text.WriteString("Where coturn's file says nothing Confab's defaults hold:\n")
	for _, d := range []struct{ key, text string }{
		{"turn.quota_user", "12 allocations of a user and 200 of an address (turn.quota_user, turn.quota_address); coturn has no limit"},
		{"turn.max_bps", "5000000 bytes per second and direction of an allocation (turn.max_bps); coturn has no limit"},
		{"turn.peers.private", "private addresses are relayed to only if this machine has no public one, the bridge's always (turn.peers); coturn relays to all"},
		{"turn.tcp_relay", "TCP is not relayed (turn.tcp_relay); coturn does"},
	} {
		if _, set := c.keys[d.key]; !set {
			text.WriteString("  " + d.text + "\n")
		}
	}
	text.WriteString("confab check looks at the result.\n")
	return text.String()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// toml writes the keys, table by table in the order of the default, with the lines
// that they come from.
func (c *coturnImport) toml(path string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "# Made by \"confab import\" from %s; the numbers are its lines.\n", strconv.QuoteToASCII(path))
	text.WriteString("# All other keys have their defaults: confab config default.\n\n")
	domain := "meet.example.org"
	if realm, ok := c.keys["turn.realm"]; ok {
		if name := strings.ToLower(realm.value.(string)); validDomain(name) {
			domain = name
		}
	}
	if !c.relayOnly {
		text.WriteString("# The name under which people open meetings; without it that of the machine. (For a host\n# that does nothing but relay there is confab import --relay-only.)\n")
		fmt.Fprintf(&text, "# domain = %s\n", tomlString(domain))
	}
	var tables []string
	byTable := map[string][]string{}
	for _, key := range configKeys() {
		if _, set := c.keys[key]; !set {
			continue
		}
		table := key[:strings.LastIndexByte(key, '.')]
		if byTable[table] == nil {
			tables = append(tables, table)
		}
		byTable[table] = append(byTable[table], key)
	}
	for _, table := range tables {
		fmt.Fprintf(&text, "\n[%s]\n", table)
		for _, key := range byTable[table] {
			k := c.keys[key]
			fmt.Fprintf(&text, "%s = %s%s\n", key[len(table)+1:], tomlOf(k.value), k.comment())
		}
	}
	return text.String()
}

// comment is where a key comes from.
func (k *importedKey) comment() string {
	lines := slices.DeleteFunc(slices.Clone(k.lines), func(n int) bool { return n == 0 })
	if len(lines) == 0 {
		return ""
	}
	return "  # " + spans(lines)
}

// spans is "3, 5-7": lines in their order, those that follow each other as one.
func spans(lines []int) string {
	slices.Sort(lines)
	var out []string
	for i := 0; i < len(lines); {
		j := i
		for j+1 < len(lines) && lines[j+1] <= lines[j]+1 {
			j++
		}
		text := strconv.Itoa(lines[i])
		if lines[j] > lines[i] {
			text += "-" + strconv.Itoa(lines[j])
		}
		out, i = append(out, text), j+1
	}
	return strings.Join(out, ", ")
}

// tomlOf writes a value that an import sets, secrets included.
func tomlOf(v any) string {
	list := func(items []string) string {
		if len(items) > 2 {
			return "[\n  " + strings.Join(items, ",\n  ") + ",\n]"
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	switch v := v.(type) {
	case string:
		return tomlString(v)
	case []string:
		items := make([]string, len(v))
		for i, s := range v {
			items[i] = tomlString(s)
		}
		return list(items)
	case []Secret:
		items := make([]string, len(v))
		for i, s := range v {
			items[i] = tomlString(string(s))
		}
		return list(items)
	case map[string]string:
		var items []string
		for key, value := range v {
			items = append(items, key+" = "+tomlString(value))
		}
		slices.Sort(items)
		return "{ " + strings.Join(items, ", ") + " }"
	}
	return fmt.Sprint(v)
}

// tomlString is a basic string of TOML, whose escapes are not quite those of Go.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
