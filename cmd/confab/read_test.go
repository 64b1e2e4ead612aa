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
	"path/filepath"
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
	about := []string{"config.go", "load.go", "keys.go", "validate.go", "check.go", "show.go"}
	checked := checker{t: t, fset: token.NewFileSet(), done: map[string]*types.Package{}, info: &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}}
	config, files := checked.check("confab/cmd/confab/config", "config")
	_, others := checked.check("confab/cmd/confab", ".")
	read := map[types.Object]bool{}
	for _, file := range append(files, others...) {
		if slices.Contains(about, filepath.Base(checked.fset.Position(file.Pos()).Filename)) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok && onlyLooks(f) {
				return false
			}
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if s := checked.info.Selections[sel]; s != nil {
					read[s.Obj()] = true
				}
			}
			return true
		})
	}
	all := config.Scope().Lookup("Config").Type().Underlying().(*types.Struct)
	eachKey(all, "", func(key string, field *types.Var) {
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

// checker reads packages without their tests. What they import comes compiled, from
// where the go command keeps it, but for those that it has read itself.
type checker struct {
	t        *testing.T
	fset     *token.FileSet
	info     *types.Info
	done     map[string]*types.Package
	compiled types.Importer
}

func (c *checker) Import(path string) (*types.Package, error) {
	if p := c.done[path]; p != nil {
		return p, nil
	}
	if c.compiled == nil {
		c.compiled = c.exports()
	}
	return c.compiled.Import(path)
}

// check reads the package that lies in dir.
func (c *checker) check(path, dir string) (*types.Package, []*ast.File) {
	c.t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		c.t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			f, err := parser.ParseFile(c.fset, name, nil, 0)
			if err != nil {
				c.t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	conf := types.Config{Importer: c}
	pkg, err := conf.Check(path, c.fset, files, c.info)
	if err != nil {
		c.t.Fatal(err)
	}
	c.done[path] = pkg
	return pkg, files
}

// exports are the compiled packages below this one.
func (c *checker) exports() types.Importer {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as make vets and builds: compiled already, under -race, too
	list, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			c.t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		c.t.Fatal(err)
	}
	compiled := map[string]string{}
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		compiled[path] = file
	}
	return importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(compiled[path]) })
}
