package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"confab/cmd/confab/config"
	"confab/storage"
	"confab/xmpp/scram"
)

// user is "confab user add|passwd|list|remove". It works on the database
// directly, whether or not the server runs; a new password counts at the next
// login.
func (p *program) user(ctx context.Context, args []string) error {
	var noHost bool
	fs := p.flagSet("user")
	fs.BoolVar(&noHost, "no-host", false, "add: the account may not open rooms with require_host and is no moderator by itself")
	rest, err := p.parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return usageError("user: add, passwd, list or remove?")
	}
	action, names := rest[0], rest[1:]
	switch action {
	case "add", "passwd", "remove":
		if len(names) != 1 {
			return usageError("user " + action + ": NAME or NAME@HOST expected")
		}
	case "list":
		if len(names) != 0 {
			return usageError("user list: takes no name")
		}
	default:
		return usageError("user " + action + ": add, passwd, list or remove expected")
	}
	if noHost && action != "add" {
		return usageError("--no-host belongs to user add")
	}
	return p.withStorage(ctx, func(cfg config.Config, st Storage) error {
		if action == "list" {
			return p.listUsers(ctx, st)
		}
		name, host, err := accountName(names[0], cfg.Domain)
		if err != nil {
			return err
		}
		switch action {
		case "add":
			return p.addUser(ctx, st, cfg.Domain, name, host, !noHost)
		case "passwd":
			return p.changePassword(ctx, st, cfg, name, host)
		}
		return p.removeUser(ctx, st, name, host)
	})
}

// withStorage opens the database for a command that works on it directly, whether or
// not the server runs.
func (p *program) withStorage(ctx context.Context, f func(cfg config.Config, st Storage) error) error {
	cfg, err := p.load()
	if err != nil {
		return err
	}
	if err := makeDataDir(cfg.DataDir); err != nil {
		return err
	}
	st, err := openStorage(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(f(cfg, st), st.Close())
}

func (p *program) addUser(ctx context.Context, st Storage, domain, user, host string, isHost bool) error {
	if err := checkNew(user, host, domain); err != nil {
		return err
	}
	password, generated, err := p.password()
	if err != nil {
		return err
	}
	a, err := newAccount(user, host, password, isHost)
	if err != nil {
		return err
	}
	err = st.CreateAccount(ctx, a)
	if errors.Is(err, storage.ErrConflict) {
		return fmt.Errorf("account %s@%s exists already", user, host)
	}
	if err != nil {
		return err
	}
	p.told("added", a, password, generated)
	return nil
}

func (p *program) changePassword(ctx context.Context, st Storage, cfg config.Config, user, host string) error {
	old, err := st.Account(ctx, user, host)
	if err != nil {
		return nameError(err, user, host)
	}
	password, generated, err := p.password()
	if err != nil {
		return err
	}
	a, err := newAccount(user, host, password, old.IsHost)
	if err != nil {
		return err
	}
	if err := st.UpdateAccount(ctx, a); err != nil {
		return nameError(err, user, host)
	}
	p.told("changed", a, password, generated)
	return removeInitialCredentials(cfg.DataDir)
}

func (p *program) removeUser(ctx context.Context, st Storage, user, host string) error {
	if err := st.DeleteAccount(ctx, user, host); err != nil {
		return nameError(err, user, host)
	}
	fmt.Fprintf(p.stdout, "account %s@%s removed\n", user, host)
	left, err := st.Accounts(ctx, host)
	if err == nil && len(left) == 0 {
		fmt.Fprintf(p.stdout, "%s has no account now: the next start makes a new host account\n", host)
	}
	return err
}

func (p *program) listUsers(ctx context.Context, st Storage) error {
	list, err := st.Accounts(ctx, "")
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tHOST\tCREATED\tCHANGED")
	for _, a := range list {
		host := "no"
		if a.IsHost {
			host = "yes"
		}
		fmt.Fprintf(w, "%s@%s\t%s\t%s\t%s\n", a.User, a.Host, host,
			a.CreatedAt.Format(time.DateTime), a.UpdatedAt.Format(time.DateTime))
	}
	return w.Flush()
}

// told reports what was done. A password that came in is not repeated.
func (p *program) told(what string, a storage.Account, password string, generated bool) {
	kind := "host"
	if !a.IsHost {
		kind = "no host"
	}
	fmt.Fprintf(p.stdout, "account %s@%s %s (%s)\n", a.User, a.Host, what, kind)
	p.showOnce(password, generated)
}

// showOnce prints a password that was made here: it is kept nowhere.
func (p *program) showOnce(password string, generated bool) {
	if generated {
		fmt.Fprintf(p.stdout, "password (shown once): %s\n", password)
	}
}

// password reads one line from stdin; at a terminal, or when nothing comes, it
// makes a password.
func (p *program) password() (password string, generated bool, err error) {
	if f, ok := p.stdin.(*os.File); ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 { // a terminal, or /dev/null
			return newPassword(), true, nil
		}
	}
	line, err := bufio.NewReader(io.LimitReader(p.stdin, 2*scram.MaxPassword)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, fmt.Errorf("read password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return newPassword(), true, nil
	}
	return line, false, nil
}

func nameError(err error, user, host string) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("there is no account %s@%s", user, host)
	}
	return err
}
