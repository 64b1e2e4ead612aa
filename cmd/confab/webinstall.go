package main

import (
	"context"
	"fmt"
	"path/filepath"

	"confab/web"
)

// web is "confab web install FILE|URL [--sha256 HEX]": it puts a stock Jitsi Meet
// build where the server looks for one. A running server takes it by itself.
func (p *program) web(ctx context.Context, args []string) error {
	fs := p.flagSet("web")
	var sum string
	fs.StringVar(&sum, "sha256", "", "checksum of the archive, in `HEX`; a URL needs one")
	rest, err := p.parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 || rest[0] != "install" {
		return usageError("web: install FILE|URL expected")
	}
	cfg, err := p.load()
	if err != nil {
		return err
	}
	if err := makeDataDir(cfg.DataDir); err != nil {
		return err
	}
	dir := filepath.Join(cfg.DataDir, "web")
	if err := web.Install(ctx, rest[1], sum, dir); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "installed in %s; a running server serves it from now on\n", dir)
	if cfg.Web.Dir != "" && cfg.Web.Dir != dir {
		fmt.Fprintf(p.stderr, "confab: warning: %s: web.dir is %s, which is served instead\n", cfg.Where("web.dir"), cfg.Web.Dir)
	}
	return nil
}
