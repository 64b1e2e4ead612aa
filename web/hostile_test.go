package web

import (
	"archive/tar"
	"io/fs"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// However archives are made, nothing of theirs lies outside of the folder that they are
// unpacked to, nothing is a link, and no more is written than may be.
func FuzzInstall(f *testing.F) {
	f.Add(tgz(f, release))
	f.Add(zipped(f, release))
	f.Add(tgz(f, []entry{{"../x", "y", tar.TypeReg}}))
	f.Add(zipped(f, []entry{{"a/../../x", "y", tar.TypeReg}, {"a/b", "/etc", tar.TypeSymlink}}))
	f.Add(tgz(f, []entry{{"a", "/", tar.TypeSymlink}, {"a/x", "y", tar.TypeReg}}))
	f.Add([]byte("BZh91AY&SY"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := t.TempDir()
		name := filepath.Join(dir, "archive")
		if err := os.WriteFile(name, archive, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "tree"), 0o700); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		lim := InstallLimits{Bytes: 1 << 16, Entries: 20}
		u := &unpacker{ctx: t.Context(), lim: lim}
		if u.root, err = os.OpenRoot(filepath.Join(dir, "tree")); err != nil {
			t.Fatal(err)
		}
		defer u.root.Close()
		failed := u.unpack(in)
		var size int64
		files := 0
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path == name {
				return err
			}
			if !d.Type().IsRegular() || !strings.HasPrefix(path, filepath.Join(dir, "tree")+"/") {
				t.Errorf("%s is there (%v)", path, d.Type())
			}
			fi, err := d.Info()
			if err == nil {
				size, files = size+fi.Size(), files+1
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		// One byte above the limit is written before it is noticed.
		if size > lim.Bytes+1 || files > lim.Entries || failed == nil && size > lim.Bytes {
			t.Errorf("%d bytes in %d files, %v", size, files, failed)
		}
	})
}

// A proxy is believed, a client is not: neither by itself nor through a proxy of ours.
func FuzzForwarded(f *testing.F) {
	f.Add("203.0.113.9", "http", "a.example")
	f.Add("6.6.6.6, 203.0.113.9, 10.0.0.2", "https,http", "a.example, b.example")
	f.Add("unknown,,[::1]:80, fe80::1%eth0", "", "\x00")
	cfg := DefaultConfig(testDomain)
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	st := &state{cfg: &cfg}
	f.Fuzz(func(t *testing.T, forwarded, proto, host string) {
		ask := func(from string, prepend bool) (netip.Addr, string, string) {
			r := httptest.NewRequest("GET", "https://"+testDomain+"/", nil)
			r.RemoteAddr = from
			list := forwarded
			if prepend {
				list += ", 203.0.113.9"
			}
			r.Header["X-Forwarded-For"] = []string{list}
			r.Header["X-Forwarded-Proto"] = []string{proto}
			r.Header["X-Forwarded-Host"] = []string{host}
			r = st.identify(r)
			return ClientAddr(r), r.RemoteAddr, r.Host
		}
		if a, remote, h := ask("198.51.100.7:4000", false); a != netip.MustParseAddr("198.51.100.7") || remote != "198.51.100.7:4000" || h != testDomain {
			t.Errorf("a stranger is %v, %s, for %q", a, remote, h)
		}
		if a, _, _ := ask("10.0.0.1:4000", true); a != netip.MustParseAddr("203.0.113.9") {
			t.Errorf("behind a proxy it is %v", a)
		}
		if a, remote, _ := ask("10.0.0.1:4000", false); !a.IsValid() || addrOf(remote) != a {
			t.Errorf("%v, %s", a, remote)
		}
	})
}
