package config

// Reading the configuration: embedded default < file < environment < flags.

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

//go:embed default.toml
var defaultTOML string

// Default is default.toml: all keys with what they mean.
func Default() string { return defaultTOML }

// SystemFile is read when no --config names another file.
const SystemFile = "/etc/confab/confab.toml"

var (
	errDuration = errors.New(`is no duration such as "20s" or "24h"`)
	errList     = errors.New("is no TOML value of the right kind")
)

// Error is a list of mistakes in the configuration, each on a line of its
// own that says where it is. The program exits with 78 (EX_CONFIG) for it.
type Error []string

func (e Error) Error() string { return strings.Join(e, "\n") }

// Sources is where the configuration comes from.
type Sources struct {
	Path    string     // the file; must exist when required
	Require bool       // path was asked for
	Environ []string   // as os.Environ
	Flags   []Override // in the order given
}

// Override is a key that a flag sets.
type Override struct{ Key, Flag, Value string }

// Load reads, merges and checks the configuration. Warnings are things worth
// telling that stop nothing. The error is a ConfigError.
func Load(src Sources) (cfg Config, warnings []string, err error) {
	if _, err := toml.Decode(defaultTOML, &cfg); err != nil {
		return cfg, nil, Error{"embedded default.toml: " + err.Error()}
	}
	cfg.origins = map[string]origin{}
	keys := Keys()
	if err := loadFile(&cfg, src, keys); err != nil {
		return cfg, nil, err
	}
	problems, warnings := loadEnv(&cfg, src.Environ, keys)
	for _, o := range src.Flags {
		if err := setKey(&cfg, o.Key, o.Value); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", o.Flag, err))
			continue
		}
		cfg.origins[o.Key] = origin{name: o.Flag}
	}
	if len(problems) > 0 {
		return cfg, warnings, Error(problems)
	}
	cfg.derive()
	if problems := cfg.validate(); len(problems) > 0 {
		return cfg, warnings, Error(problems)
	}
	return cfg, warnings, nil
}

// file is the configuration file while it is read.
type file struct{ path, text string }

// place is where key stands in the file: "path:line".
func (f *file) place(key string) string {
	if n := LineOf(f.text, strings.Split(key, ".")); n > 0 {
		return f.path + ":" + strconv.Itoa(n)
	}
	return f.path
}

func loadFile(cfg *Config, src Sources, keys []string) error {
	text, err := os.ReadFile(src.Path)
	if errors.Is(err, fs.ErrNotExist) && !src.Require {
		return nil
	}
	if err != nil {
		return Error{fmt.Sprintf("configuration file: %v", err)}
	}
	f := &file{src.Path, string(text)}
	// Unknown keys first: they explain a wrong type elsewhere better than it does.
	var tree map[string]any
	md, err := toml.Decode(f.text, &tree)
	if err != nil {
		return Error{f.explain(err)}
	}
	var problems Error
	var unknown []string
	for _, k := range md.Keys() {
		key := strings.Join(k, ".")
		switch {
		case slices.Contains(keys, key):
			cfg.origins[key] = origin{file: f}
		case isTable(key, keys) || isFree(key) || slices.ContainsFunc(unknown, func(u string) bool { return strings.HasPrefix(key, u+".") }):
		default:
			unknown = append(unknown, key)
			problems = append(problems, f.unknown(k, keys))
		}
	}
	if len(problems) > 0 {
		return problems
	}
	if _, err := toml.Decode(f.text, cfg); err != nil {
		return Error{f.explain(err)}
	}
	return nil
}

// isTable reports whether key is a section that holds keys.
func isTable(key string, keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, key+".") })
}

// lists are the keys that hold tables: [[turn.servers]].
var lists = []string{"turn.servers", "tenants"}

// inList reports whether key belongs to one entry of a list.
func inList(key string) bool {
	return slices.ContainsFunc(lists, func(l string) bool { return strings.HasPrefix(key, l+".") })
}

// free are the tables whose keys are not ours.
var free = []string{"web.config", "web.interface_config", "log.components", "bridge.last_n_limits", "reservations.headers", "transcription.headers", "tenants.config", "tenants.interface_config"}

func isFree(key string) bool {
	return slices.ContainsFunc(free, func(t string) bool { return strings.HasPrefix(key, t+".") })
}

func (f *file) unknown(k toml.Key, keys []string) string {
	key := strings.Join(k, ".")
	at := f.path
	if n := LineOf(f.text, k); n > 0 {
		at += ":" + strconv.Itoa(n)
	}
	if near := nearest(key, keys); near != "" {
		return fmt.Sprintf("%s: unknown key %s, did you mean %s?", at, key, near)
	}
	return fmt.Sprintf("%s: unknown key %s", at, key)
}

// How the decoder reports a value of the wrong type, in terms of Go.
var (
	typeError = regexp.MustCompile(`^toml: line (\d+) \(last key "(.*?)"\): (.*)$`)
	wrongType = regexp.MustCompile(`^incompatible types: TOML value has type (.*); destination has type (.*)$`)
	noTable   = regexp.MustCompile(`^type mismatch for .*: expected table but found (.*)$`)
)

// tomlType names a type as TOML does.
func tomlType(goType string) string {
	switch {
	case strings.HasPrefix(goType, "int"):
		return "integer"
	case strings.HasPrefix(goType, "bool"):
		return "boolean"
	case strings.HasPrefix(goType, "map"), strings.HasPrefix(goType, "table"):
		return "table"
	case strings.HasPrefix(goType, "[]"), goType == "slice":
		return "array"
	}
	return goType
}

// explain turns a decoder's error into "path:line: key: what is wrong".
func (f *file) explain(err error) string {
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		what := parse.Message
		if parse.LastKey != "" {
			what = parse.LastKey + ": " + what
		}
		return fmt.Sprintf("%s:%d: %s", f.path, parse.Position.Line, what)
	}
	if m := typeError.FindStringSubmatch(err.Error()); m != nil {
		what := m[3]
		if w := wrongType.FindStringSubmatch(what); w != nil {
			what = fmt.Sprintf("is of type %s, must be of type %s", tomlType(w[1]), tomlType(w[2]))
		} else if w := noTable.FindStringSubmatch(what); w != nil {
			what = fmt.Sprintf("is of type %s, must be a table", tomlType(w[1]))
		}
		return fmt.Sprintf("%s:%s: %s: %s", f.path, m[1], m[2], what)
	}
	return f.path + ": " + strings.TrimPrefix(err.Error(), "toml: ")
}

// LineOf finds the line of a key, 0 when it can't. The decoder knows positions
// but tells them only in errors: so it is given a value that fails at just this key.
func LineOf(text string, key toml.Key) int {
	for _, inArray := range []bool{false, true} { // [[turn.servers]] type = …
		t := reflect.TypeFor[refuser]()
		for i := len(key) - 1; i >= 0; i-- {
			if inArray && i == len(key)-2 {
				t = reflect.SliceOf(t)
			}
			tag := reflect.StructTag("toml:" + strconv.Quote(key[i]))
			t = reflect.StructOf([]reflect.StructField{{Name: "F", Type: t, Tag: tag}})
		}
		_, err := toml.Decode(text, reflect.New(t).Interface())
		if parse, ok := errors.AsType[toml.ParseError](err); ok && parse.Message == errRefused.Error() {
			return parse.Position.Line
		}
	}
	return 0
}

var errRefused = errors.New("the key is here")

type refuser struct{}

func (*refuser) UnmarshalTOML(any) error { return errRefused }

// loadEnv takes CONFAB_… variables over: the key in upper case, dots as _, and
// with _FILE behind it the name of a file that holds the value.
func loadEnv(cfg *Config, environ, keys []string) (problems, warnings []string) {
	env := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, EnvPrefix) && !strings.HasPrefix(name, EnvPrefix+"TEST_") {
			env[name] = value
		}
	}
	for _, key := range keys {
		name := envName(key)
		value, set := env[name]
		path, fromFile := env[name+"_FILE"]
		delete(env, name)
		delete(env, name+"_FILE")
		switch {
		case set && fromFile:
			problems = append(problems, fmt.Sprintf("%s and %s_FILE are both set", name, name))
			continue
		case fromFile:
			name += "_FILE"
			text, err := os.ReadFile(path)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", name, err))
				continue
			}
			value = strings.TrimRight(string(text), "\r\n")
		case !set:
			continue
		}
		if err := setKey(cfg, key, value); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		cfg.origins[key] = origin{name: name}
	}
	for name := range env { // no error: container platforms add variables of their own
		warnings = append(warnings, fmt.Sprintf("%s: no such key", name))
	}
	slices.Sort(warnings)
	return problems, warnings
}

// Check checks a configuration as a start does.
func Check(text string) error {
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
		return Error(problems)
	}
	return nil
}
