package config

// What holds, as "confab config show" shows it.

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Show writes each effective value as TOML, with who set it. Secrets that
// are set are written as "***".
func Show(w io.Writer, cfg Config) error {
	var deflt Config
	if _, err := toml.Decode(defaultTOML, &deflt); err != nil {
		return err
	}
	var text strings.Builder
	for _, key := range Keys() {
		if inList(key) {
			continue // shown as a whole
		}
		v, d := ValueOf(&cfg, key), ValueOf(&deflt, key)
		from := cfg.Where(key)
		if !cfg.IsSet(key) && !reflect.DeepEqual(v.Interface(), d.Interface()) {
			from = "derived" // from the machine or from another key
		}
		fmt.Fprintf(&text, "%-60s # %s\n", key+" = "+tomlValue(v), from)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// tomlValue writes a value of the configuration in one line. Secrets stay hidden.
func tomlValue(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case Secret:
		if x == "" {
			return `""`
		}
		return strconv.Quote(x.String())
	case Duration:
		return strconv.Quote(x.String())
	}
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Interface:
		return tomlValue(v.Elem())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = tomlValue(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		var items []string
		for _, k := range slices.Sorted(maps.Keys(mapByName(v))) {
			items = append(items, strconv.Quote(k)+" = "+tomlValue(v.MapIndex(reflect.ValueOf(k))))
		}
		return table(items)
	case reflect.Struct:
		var items []string
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				items = append(items, v.Type().Field(i).Tag.Get("toml")+" = "+tomlValue(v.Field(i)))
			}
		}
		return table(items)
	}
	return fmt.Sprint(v.Interface())
}

func mapByName(v reflect.Value) map[string]bool {
	names := map[string]bool{}
	for _, k := range v.MapKeys() {
		names[k.String()] = true
	}
	return names
}

func table(items []string) string {
	if len(items) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(items, ", ") + " }"
}
