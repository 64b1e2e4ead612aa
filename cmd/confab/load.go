package main

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

// systemConfig is read when no --config names another file.
const systemConfig = "/etc/confab/confab.toml"

var (
	errDuration = errors.New(`is no duration such as "20s" or "24h"`)
	errList     = errors.New("is no TOML value of the right kind")
)

// ConfigError is a list of mistakes in the configuration, each on a line of its
// own that says where it is. The program exits with 78 (EX_CONFIG) for it.
type ConfigError []string

func (e ConfigError) Error() string { return strings.Join(e, "\n") }

// sources is where the configuration comes from.
type sources struct {
	path    string     // the file; must exist when required
	require bool       // path was asked for
	environ []string   // as os.Environ
	flags   []override // in the order given
}

// override is a key that a flag sets.
type override struct{ key, flag, value string }

// load reads, merges and checks the configuration. Warnings are things worth
// telling that stop nothing. The error is a ConfigError.
func load(src sources) (cfg Config, warnings []string, err error) {
	if _, err := toml.Decode(defaultTOML, &cfg); err != nil {
		return cfg, nil, ConfigError{"embedded default.toml: " + err.Error()}
	}
	cfg.origins = map[string]origin{}
	keys := configKeys()
	if err := loadFile(&cfg, src, keys); err != nil {
		return cfg, nil, err
	}
	problems, warnings := loadEnv(&cfg, src.environ, keys)
	for _, o := range src.flags {
		if err := setKey(&cfg, o.key, o.value); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", o.flag, err))
			continue
		}
		cfg.origins[o.key] = origin{name: o.flag}
	}
	if len(problems) > 0 {
		return cfg, warnings, ConfigError(problems)
	}
	cfg.derive()
	if problems := cfg.validate(); len(problems) > 0 {
		return cfg, warnings, ConfigError(problems)
	}
	return cfg, warnings, nil
}

// file is the configuration file while it is read.
type file struct{ path, text string }

// place is where key stands in the file: "path:line".
func (f *file) place(key string) string {
	if n := lineOf(f.text, strings.Split(key, ".")); n > 0 {
		return f.path + ":" + strconv.Itoa(n)
	}
	return f.path
}

func loadFile(cfg *Config, src sources, keys []string) error {
	text, err := os.ReadFile(src.path)
	if errors.Is(err, fs.ErrNotExist) && !src.require {
		return nil
	}
	if err != nil {
		return ConfigError{fmt.Sprintf("configuration file: %v", err)}
	}
	f := &file{src.path, string(text)}
	// Unknown keys first: they explain a wrong type elsewhere better than it does.
	var tree map[string]any
	md, err := toml.Decode(f.text, &tree)
	if err != nil {
		return ConfigError{f.explain(err)}
	}
	var problems ConfigError
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
		return ConfigError{f.explain(err)}
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
	if n := lineOf(f.text, k); n > 0 {
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

// lineOf finds the line of a key, 0 when it can't. The decoder knows positions
// but tells them only in errors: so it is given a value that fails at just this key.
func lineOf(text string, key toml.Key) int {
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
		if strings.HasPrefix(name, envPrefix) && !strings.HasPrefix(name, envPrefix+"TEST_") {
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

const envPrefix = "CONFAB_"

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// configKeys lists all keys, depth first in the order of the struct.
func configKeys() []string {
	var keys []string
	walk(reflect.TypeFor[Config](), "", func(key string, _ reflect.StructField, leaf bool) {
		if leaf || slices.Contains(lists, key) { // set as a whole or entry by entry
			keys = append(keys, key)
		}
	})
	return keys
}

// walk calls f for each tagged field below t, sections included.
func walk(t reflect.Type, prefix string, f func(key string, field reflect.StructField, leaf bool)) {
	for i := range t.NumField() {
		field := t.Field(i)
		tag := field.Tag.Get("toml")
		if tag == "" {
			continue
		}
		section := field.Type
		if section.Kind() == reflect.Slice {
			section = section.Elem()
		}
		isSection := section.Kind() == reflect.Struct && section != reflect.TypeFor[Duration]()
		f(prefix+tag, field, !isSection)
		if isSection {
			walk(section, prefix+tag+".", f)
		}
	}
}

// valueOf is the field of a key, invalid for the keys inside of a list.
func valueOf(cfg *Config, key string) reflect.Value {
	v := reflect.ValueOf(cfg).Elem()
	for part := range strings.SplitSeq(key, ".") {
		t := v.Type()
		if t.Kind() != reflect.Struct {
			return reflect.Value{}
		}
		for i := range t.NumField() {
			if t.Field(i).Tag.Get("toml") == part {
				v = v.Field(i)
				break
			}
		}
	}
	return v
}

// setKey sets a key from text: lists by comma, tables as a TOML value.
func setKey(cfg *Config, key, text string) error {
	v := valueOf(cfg, key)
	if !v.IsValid() {
		return errors.New("can be set as a whole only")
	}
	switch p := v.Addr().Interface().(type) {
	case *Duration:
		return p.UnmarshalText([]byte(text))
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*p = b
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		v.SetInt(int64(n))
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.String {
			return setTOML(v, text)
		}
		list := reflect.MakeSlice(v.Type(), 0, 4)
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = reflect.Append(list, reflect.ValueOf(item).Convert(v.Type().Elem()))
			}
		}
		v.Set(list)
	default:
		return setTOML(v, text)
	}
	return nil
}

func setTOML(v reflect.Value, text string) error {
	holder := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "F", Type: v.Type(), Tag: `toml:"f"`}}))
	md, err := toml.Decode("f = "+text, holder.Interface())
	if err != nil || len(md.Undecoded()) > 0 {
		return errList
	}
	v.Set(holder.Elem().Field(0))
	return nil
}

// nearest returns the key that was probably meant: the same name in another
// section, or the one with the fewest letters changed; "" when none is close.
func nearest(key string, keys []string) string {
	name := key[strings.LastIndexByte(key, '.')+1:]
	best, least := "", len(key)/3+1
	for _, k := range keys {
		d := distance(key, k)
		if k[strings.LastIndexByte(k, '.')+1:] == name {
			d = min(d, 1)
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, remove or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
