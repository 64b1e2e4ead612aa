package config

// The keys: their names, their fields, their values as text.

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

const EnvPrefix = "CONFAB_"

func envName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Keys lists all keys, depth first in the order of the struct.
func Keys() []string {
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

// ValueOf is the field of a key, invalid for the keys inside of a list.
func ValueOf(cfg *Config, key string) reflect.Value {
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
	v := ValueOf(cfg, key)
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
