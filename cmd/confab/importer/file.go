package importer

// Reading turnserver.conf as coturn does.

import (
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// coturnLine is one option of a coturn file.
type coturnLine struct {
	number      int
	name, value string
}

// coturnLineMax is how much of a line coturn reads at once (read_config_file): what is
// longer is two lines to it.
const coturnLineMax = 1023

// readCoturn returns the options in the order of the file, and what can't be read.
//
// coturn: read_config_file, parse_arg_string. A # makes a comment only where a line
// begins. Name and value are parted by any number of blanks, tabs and equals signs.
// A quotation mark before a value is taken away with the one behind it.
func readCoturn(text string) (lines []coturnLine, bad []finding) {
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		n++
		line = strings.Trim(line, " \t\r\n\v\f")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value := line, ""
		if i := strings.IndexAny(line, " =\t"); i >= 0 {
			name, value = line[:i], strings.TrimLeft(line[i:], " =\t")
		}
		if rest, quoted := strings.CutPrefix(value, `"`); quoted {
			value = strings.TrimSuffix(strings.TrimRight(rest, " \t"), `"`)
		}
		l := coturnLine{n, name, value}
		switch {
		case !utf8.ValidString(line) || strings.ContainsRune(line, 0):
			bad = append(bad, l.lost("is no text in UTF-8"))
		case len(line) > coturnLineMax:
			bad = append(bad, l.lost("is longer than coturn reads, which takes the rest for another line"))
		default:
			lines = append(lines, l)
		}
	}
	return lines, bad
}

// on reads a switch: without a value it is on (coturn: get_bool_value).
func (l coturnLine) on() (on, ok bool) {
	if l.value == "" {
		return true, true
	}
	switch l.value[0] {
	case '0', 'n', 'N', 'f', 'F':
		return false, true
	case 'y', 'Y', 't', 'T', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return true, true
	}
	switch l.value {
	case "off", "OFF", "Off":
		return false, true
	case "on", "ON", "On":
		return true, true
	}
	return false, false
}

// digits reads the number that a value begins with, as atoi does; all says that
// nothing follows.
func (l coturnLine) digits() (n int, all, ok bool) {
	text := strings.TrimLeft(l.value, " \t")
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		if n = n*10 + int(text[i]-'0'); n > 1<<40 {
			return 0, false, false
		}
		i++
	}
	return n, i == len(text), i > 0
}

// file is the path that a value names: coturn looks for relative ones beside the
// configuration.
func (l coturnLine) file(dir string) string {
	if filepath.IsAbs(l.value) {
		return l.value
	}
	return filepath.Join(dir, l.value)
}

// finding is what is to be told about a line; 0 stands for the file as a whole.
type finding struct {
	line int
	kind findingKind
	text string
}

type findingKind int

const (
	carriedOver  findingKind = iota // and something is to be said about it
	withoutUse                      // nothing is missing without it
	notCarried                      // something is missing
	makesRefusal                    // the import is refused for it
)

func (k findingKind) String() string {
	return [...]string{"carried over", "needs nothing", "NOT carried over", "REFUSED"}[k]
}

// shown is the name as a terminal can bear it. Values are not shown unless they are
// known to be no secrets.
func (l coturnLine) shown() string {
	const most = 40
	name := l.name
	if len(name) > most {
		name = name[:most]
	}
	if quoted := strconv.QuoteToASCII(name); quoted != `"`+l.name+`"` {
		return quoted
	}
	return name
}

func (l coturnLine) lost(why string) finding {
	return finding{l.number, notCarried, l.shown() + ": " + why}
}

func (l coturnLine) idle(why string) finding {
	return finding{l.number, withoutUse, l.shown() + ": " + why}
}

func (l coturnLine) note(what string) finding {
	return finding{l.number, carriedOver, l.shown() + ": " + what}
}
