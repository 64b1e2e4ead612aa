package main

import (
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// onlyLooks reports whether a function judges the configuration: it validates keys, or is
// a part of confab check.
func onlyLooks(f *ast.FuncDecl) bool {
	if f.Recv != nil && types.ExprString(f.Recv.List[0].Type) == "*report" {
		return true
	}
	return strings.HasPrefix(f.Name.Name, "validate")
}

// Deployment.md §17 row 20: every key is read by something that acts on it, which
// the files that load, check and show the configuration don't, nor what features have
// of that beside their wiring.
func TestEveryKeyIsRead(t *testing.T) {
	t.Parallel()
	about := []string{"config.go", "load.go", "validate.go", "check.go", "show.go"}
	pkg, info, files := typeCheck(t)
	read := map[types.Object]bool{}
	for name, file := range files {
		if slices.Contains(about, name) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok && onlyLooks(f) {
				return false
			}
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if s := info.Selections[sel]; s != nil {
					read[s.Obj()] = true
				}
			}
			return true
		})
	}
	config := pkg.Scope().Lookup("Config").Type().Underlying().(*types.Struct)
	eachKey(config, "", func(key string, field *types.Var) {
		if !read[field] {
			t.Errorf("%s is in the configuration, but nothing reads it", key)
		}
	})
}

// eachKey calls f for the fields that are no sections.
func eachKey(s *types.Struct, prefix string, f func(key string, field *types.Var)) {
	for i := range s.NumFields() {
		tag := reflect.StructTag(s.Tag(i)).Get("toml")
		if tag == "" {
			continue
		}
		t := s.Field(i).Type()
		if list, ok := t.(*types.Slice); ok {
			t = list.Elem()
		}
		section, ok := t.Underlying().(*types.Struct)
		if named, isNamed := t.(*types.Named); isNamed && named.Obj().Name() == "Duration" {
			ok = false
		}
		if ok {
			eachKey(section, prefix+tag+".", f)
		} else {
			f(prefix+tag, s.Field(i))
		}
	}
}

// typeCheck reads this package without its tests. What it imports comes compiled,
// from where the go command keeps it.
func typeCheck(t *testing.T) (*types.Package, *types.Info, map[string]*ast.File) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as make vets and builds: compiled already, under -race, too
	list, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	compiled := map[string]string{}
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		compiled[path] = file
	}
	fset := token.NewFileSet()
	names, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	var all []*ast.File
	for _, e := range names {
		if name := e.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			f, err := parser.ParseFile(fset, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = f
			all = append(all, f)
		}
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(compiled[path])
	})}
	info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
	pkg, err := conf.Check("confab/cmd/confab", fset, all, info)
	if err != nil {
		t.Fatal(err)
	}
	return pkg, info, files
}
