package importer

// What comes out of an import: keys of ours, and what is to be said.

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"confab/cmd/confab/config"
)

// IsCoturn reports whether a text has an option of coturn.
func IsCoturn(text string) bool {
	lines, _ := readCoturn(text)
	return slices.ContainsFunc(lines, func(l coturnLine) bool {
		_, known := coturnOptions[l.name]
		return known
	})
}

// Say tells the findings as "path:line: …", what is the same of several lines once.
func (c *Import) Say(w io.Writer, path string) {
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

// Refused reports whether the file has something for which nothing is to be written.
func (c *Import) Refused() bool {
	return slices.ContainsFunc(c.findings, func(f finding) bool { return f.kind == makesRefusal })
}

// HasSecrets reports whether the result has any.
func (c *Import) HasSecrets() bool {
	_, ok := c.keys["turn.secrets"]
	return ok
}

// Summary is the end of what is said: how much it was, and what holds for what the
// file does not say.
func (c *Import) Summary() string {
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

// TOML writes the keys, table by table in the order of the default, with the lines
// that they come from.
func (c *Import) TOML(path string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "# Made by \"confab import\" from %s; the numbers are its lines.\n", strconv.QuoteToASCII(path))
	text.WriteString("# All other keys have their defaults: confab config default.\n\n")
	domain := "meet.example.org"
	if realm, ok := c.keys["turn.realm"]; ok {
		if name := strings.ToLower(realm.value.(string)); config.ValidDomain(name) {
			domain = name
		}
	}
	if !c.relayOnly {
		text.WriteString("# The name under which people open meetings; without it that of the machine. (For a host\n# that does nothing but relay there is confab import --relay-only.)\n")
		fmt.Fprintf(&text, "# domain = %s\n", tomlString(domain))
	}
	var tables []string
	byTable := map[string][]string{}
	for _, key := range config.Keys() {
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
	case []config.Secret:
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
