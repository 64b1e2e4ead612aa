package web

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// oldSuffix names the build that the last install replaced.
const oldSuffix = ".old"

// InstallLimits bounds what an archive, hostile input, may make of itself.
type InstallLimits struct {
	Archive int64         // bytes of the archive
	Bytes   int64         // bytes unpacked (deployment.md §3.4: 1 GiB)
	Entries int           // files and directories (50,000)
	Timeout time.Duration // of a download
}

// DefaultInstallLimits returns the limits of deployment.md §3.4.
func DefaultInstallLimits() InstallLimits {
	return InstallLimits{Archive: 512 << 20, Bytes: 1 << 30, Entries: 50_000, Timeout: 15 * time.Minute}
}

// Install unpacks a stock release (tar.bz2, tar.gz, tar or zip, with or without
// a folder at its top) into dir, replacing what was there in one step. src is a
// file or an http(s) URL. sum is the archive's SHA-256 in hex; a download needs
// one, a local file may go without. The build before stays beside dir for the
// tabs that still run it. A running server takes the new build by itself.
func Install(ctx context.Context, src, sum, dir string) error {
	return InstallWith(ctx, src, sum, dir, DefaultInstallLimits())
}

// InstallWith is Install with other limits.
func InstallWith(ctx context.Context, src, sum, dir string, lim InstallLimits) error {
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("web install: %w", err)
	}
	work, err := os.MkdirTemp(parent, ".web-install-*")
	if err != nil {
		return fmt.Errorf("web install: %w", err)
	}
	defer os.RemoveAll(work)
	archive, err := fetchArchive(ctx, src, filepath.Join(work, "archive"), lim)
	if err != nil {
		return fmt.Errorf("web install: %w", err)
	}
	defer archive.Close()
	if err := checkSum(archive, src, sum); err != nil {
		return fmt.Errorf("web install: %w", err)
	}
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return fmt.Errorf("web install: %w", err)
	}
	u := &unpacker{ctx: ctx, lim: lim}
	if u.root, err = os.OpenRoot(tree); err != nil {
		return fmt.Errorf("web install: %w", err)
	}
	err = u.unpack(archive)
	u.root.Close()
	if err != nil {
		return fmt.Errorf("web install: %s: %w", filepath.Base(src), err)
	}
	top, err := buildTop(tree)
	if err != nil {
		return fmt.Errorf("web install: %s: %w", filepath.Base(src), err)
	}
	if err := precompress(ctx, top); err != nil {
		return fmt.Errorf("web install: compress: %w", err)
	}
	if err := swap(top, dir); err != nil {
		return fmt.Errorf("web install: %w", err)
	}
	return nil
}

func isURL(src string) bool {
	return strings.HasPrefix(src, "https://") || strings.HasPrefix(src, "http://")
}

// fetchArchive opens a file, or downloads to tmp.
func fetchArchive(ctx context.Context, src, tmp string, lim InstallLimits) (*os.File, error) {
	if !isURL(src) {
		f, err := os.Open(src)
		if err != nil {
			return nil, err
		}
		fi, err := f.Stat()
		switch {
		case err != nil:
		case !fi.Mode().IsRegular():
			err = fmt.Errorf("%s is not a file", src)
		case fi.Size() > lim.Archive:
			err = fmt.Errorf("%s is larger than %d bytes", src, lim.Archive)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lim.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, src, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", src, resp.Status)
	}
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(resp.Body, lim.Archive+1))
	if err == nil && n > lim.Archive {
		err = fmt.Errorf("%s is larger than %d bytes", src, lim.Archive)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkSum(f *os.File, src, want string) error {
	h := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	got := hex.EncodeToString(h.Sum(nil))
	want = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(want), "sha256:"))
	switch {
	case want == "" && isURL(src):
		return fmt.Errorf("a download needs its checksum; what %s gave has sha256 %s", src, got)
	case want != "" && want != got:
		return fmt.Errorf("checksum of %s is %s, not %s", src, got, want)
	}
	return nil
}

// unpacker writes entries below root, which keeps every name inside.
type unpacker struct {
	ctx     context.Context
	root    *os.Root
	lim     InstallLimits
	bytes   int64
	entries int
}

func (u *unpacker) unpack(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, 64<<10)
	head, _ := r.Peek(262)
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		return u.zip(f, fi.Size())
	case bytes.HasPrefix(head, []byte("BZh")):
		return u.tar(bzip2.NewReader(r))
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		return u.tar(zr)
	case len(head) == 262 && string(head[257:262]) == "ustar":
		return u.tar(r)
	case bytes.HasPrefix(head, []byte("!<arch>\n")):
		return errors.New("is a Debian package: install it, or unpack it with `dpkg -x`, and set web.dir to its usr/share/jitsi-meet")
	}
	return errors.New("is neither a tar (bzip2, gzip) nor a zip archive")
}

func (u *unpacker) tar(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch hdr.Typeflag {
		case tar.TypeDir:
			err = u.dir(hdr.Name)
		case tar.TypeReg:
			err = u.file(hdr.Name, tr)
		case tar.TypeXGlobalHeader: // a comment, as git archive writes it
		default:
			err = fmt.Errorf("%q is a link or a device", hdr.Name)
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacker) zip(f io.ReaderAt, size int64) error {
	zr, err := zip.NewReader(f, size)
	if err != nil {
		return err
	}
	for _, e := range zr.File {
		switch mode := e.Mode(); {
		case mode.IsDir():
			err = u.dir(e.Name)
		case mode.IsRegular():
			var r io.ReadCloser
			if r, err = e.Open(); err == nil {
				err = errors.Join(u.file(e.Name, r), r.Close())
			}
		default:
			err = fmt.Errorf("%q is a link or a device", e.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry counts one entry and checks its name.
func (u *unpacker) entry(name string) (string, error) {
	if err := u.ctx.Err(); err != nil {
		return "", err
	}
	if u.entries++; u.entries > u.lim.Entries {
		return "", fmt.Errorf("more than %d entries", u.lim.Entries)
	}
	if strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\\x00") {
		return "", fmt.Errorf("%q is not a path inside", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%q leaves the archive", name)
		}
	}
	return path.Clean(name), nil
}

func (u *unpacker) dir(name string) error {
	name, err := u.entry(name)
	if err != nil || name == "." {
		return err
	}
	return u.root.MkdirAll(name, 0o755)
}

func (u *unpacker) file(name string, r io.Reader) error {
	name, err := u.entry(name)
	if err != nil {
		return err
	}
	if dir := path.Dir(name); dir != "." {
		if err := u.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	left := u.lim.Bytes - u.bytes
	n, err := io.Copy(f, io.LimitReader(r, left+1))
	u.bytes += n
	if err == nil && n > left {
		err = fmt.Errorf("more than %d bytes unpacked", u.lim.Bytes)
	}
	return errors.Join(err, f.Close())
}

// buildTop finds the build in the tree: at its top, or in its only folder.
func buildTop(tree string) (string, error) {
	top := tree
	if !isFile(filepath.Join(top, "index.html")) {
		entries, err := os.ReadDir(tree)
		if err != nil {
			return "", err
		}
		if len(entries) == 1 && entries[0].IsDir() {
			top = filepath.Join(tree, entries[0].Name())
		}
	}
	switch {
	case !isFile(filepath.Join(top, "index.html")):
		return "", errors.New("holds no index.html")
	case !isFile(filepath.Join(top, "libs", "lib-jitsi-meet.min.js")):
		return "", errors.New("holds no libs/lib-jitsi-meet.min.js: this is the source, not a build")
	}
	return top, nil
}

func isFile(name string) bool {
	fi, err := os.Lstat(name)
	return err == nil && fi.Mode().IsRegular()
}

// precompress writes FILE.gz beside what is worth it, so that the server needn't.
func precompress(ctx context.Context, top string) error {
	return filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil || fi.Size() < gzipMin || filepath.Ext(name) == ".html" || !compressible(contentType(name)) || isFile(name+".gz") {
			return err
		}
		switch filepath.Ext(name) {
		case ".gz", ".br", ".zst", ".map":
			return nil
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		z, err := gzipAll(f, gzip.BestCompression)
		if err != nil || int64(len(z)) >= fi.Size() {
			return err
		}
		return os.WriteFile(name+".gz", z, 0o644)
	})
}

// swap puts top in the place of dir. The build before is kept one install long;
// its modification time says when it was replaced.
func swap(top, dir string) error {
	old := dir + oldSuffix
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	switch err := os.Rename(dir, old); {
	case errors.Is(err, fs.ErrNotExist):
		return os.Rename(top, dir)
	case err != nil:
		return err
	}
	now := time.Now()
	if err := os.Chtimes(old, now, now); err != nil {
		return errors.Join(err, os.Rename(old, dir))
	}
	if err := os.Rename(top, dir); err != nil {
		return errors.Join(err, os.Rename(old, dir))
	}
	return nil
}
