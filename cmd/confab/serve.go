package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// serve runs the server until ctx ends. out gets the summary for people, errOut
// the log.
func serve(ctx context.Context, cfg Config, out, errOut io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(errOut, nil))
	if err := makeDataDir(cfg.DataDir); err != nil {
		return err
	}
	lock, err := lockDataDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if _, err := loadSecrets(cfg.DataDir); err != nil {
		return err
	}
	st, err := openStorage(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := noteDomain(ctx, st, cfg.Domain, log); err != nil {
		return err
	}
	password, err := firstHost(ctx, st, cfg.Domain)
	if err != nil {
		return fmt.Errorf("first host account: %w", err)
	}
	sum := summary{{"Confab is running", publicURL(cfg.Domain, cfg.Web.Listen[0], cfg.TLS.Mode == "off")}}
	if err := sum.addHost(cfg, password, log); err != nil {
		return err
	}
	sum.write(out)
	<-ctx.Done()
	return nil
}

// summary is what the operator sees at start: a label and a value a line.
type summary [][2]string

// addHost tells the first host's password, once: to the terminal, the container's
// or the redirected output; into a file where the output is kept for good.
func (s *summary) addHost(cfg Config, password string, log *slog.Logger) error {
	if password == "" {
		return nil
	}
	if toJournal(os.Stdout, os.Getenv) {
		if err := saveInitialCredentials(cfg.DataDir, "host", cfg.Domain, password); err != nil {
			return fmt.Errorf("save the first host's password: %w", err)
		}
		log.Info("host account made; its password is in a file until the first sign-in",
			"jid", "host@"+cfg.Domain, "file", filepath.Join(cfg.DataDir, initialCredentials))
		return nil
	}
	*s = append(*s,
		[2]string{"Host (administrator) login", "host@" + cfg.Domain},
		[2]string{"Password (shown once)", password})
	return nil
}

func (s summary) write(w io.Writer) {
	var text strings.Builder
	text.WriteString("\n")
	for _, line := range s {
		fmt.Fprintf(&text, "  %-44s  %s\n", line[0], line[1])
	}
	text.WriteString("\n")
	io.WriteString(w, text.String()) // at once: other output does not get in between
}

// publicURL is the address people open.
func publicURL(domain, listen string, plain bool) string {
	scheme, usual := "https", "443"
	if plain {
		scheme, usual = "http", "80"
	}
	if _, port, err := net.SplitHostPort(listen); err == nil && port != usual {
		domain = net.JoinHostPort(domain, port)
	}
	return scheme + "://" + domain
}
