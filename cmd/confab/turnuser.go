package main

// confab turn user: people and programs that use the relay without a meeting.

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
	"confab/storage"
)

// turn is "confab turn user add|list|remove". It works on the database directly, as
// "confab user" does; a running server looks there every few seconds.
func (p *program) turn(ctx context.Context, args []string) error {
	var isKey bool
	fs := p.flagSet("turn")
	fs.BoolVar(&isKey, "key", false, "user add: the key comes on stdin, not the password: MD5(NAME:REALM:PASSWORD) in hexadecimal, as turnadmin -k prints it")
	rest, err := p.parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) < 2 || rest[0] != "user" || !slices.Contains([]string{"add", "list", "remove"}, rest[1]) {
		return usageError("turn: user add, user list or user remove expected")
	}
	action, names := rest[1], rest[2:]
	if action == "list" && len(names) != 0 {
		return usageError("turn user list: takes no name")
	}
	if action != "list" && len(names) != 1 {
		return usageError("turn user " + action + ": NAME expected")
	}
	if isKey && action != "add" {
		return usageError("--key belongs to turn user add")
	}
	return p.withStorage(ctx, func(cfg config.Config, st Storage) error {
		switch action {
		case "add":
			return p.addTURNUser(ctx, st, names[0], cfg.TURN.Realm, isKey)
		case "remove":
			return p.removeTURNUser(ctx, st, names[0], cfg.TURN.Realm)
		}
		return p.listTURNUsers(ctx, st, cfg.TURN.Realm)
	})
}

// addTURNUser keeps the key of a new user: it is made of the realm, too, so a user
// belongs to one.
func (p *program) addTURNUser(ctx context.Context, st Storage, name, realm string, isKey bool) error {
	if credential.CheckUserName(name) != nil {
		return fmt.Errorf("%q is no name for a TURN user: it has no colon, and is no number, so that it can't be taken for a time-limited one", name)
	}
	password, generated, err := p.password()
	if err != nil {
		return err
	}
	key := credential.Key(name, realm, password)
	if isKey {
		if key, err = parseTURNKey(password); err != nil || generated {
			return errors.New("stdin has no key: 32 hexadecimal digits expected")
		}
	}
	err = st.CreateTURNUser(ctx, storage.TURNUser{Name: name, Realm: realm, Key: key[:]})
	if errors.Is(err, storage.ErrConflict) {
		return fmt.Errorf("TURN user %s exists already", name)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "TURN user %s added (realm %s)\n", name, realm)
	p.showOnce(password, generated)
	return nil
}

// parseTURNKey reads a key as it stands in coturn's user=NAME:0x….
func parseTURNKey(s string) (key [16]byte, err error) {
	b, err := hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(s), "0x"))
	if err == nil && len(b) != len(key) {
		err = hex.ErrLength
	}
	if err != nil {
		return key, err
	}
	return [16]byte(b), nil
}

func (p *program) removeTURNUser(ctx context.Context, st Storage, name, realm string) error {
	err := st.DeleteTURNUser(ctx, name, realm)
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("there is no TURN user %s in realm %s", name, realm)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "TURN user %s removed\n", name)
	return nil
}

// listTURNUsers shows those of all realms: who changes turn.realm finds here why nobody
// gets in.
func (p *program) listTURNUsers(ctx context.Context, st Storage, realm string) error {
	list, err := st.TURNUsers(ctx, "")
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tREALM\tCREATED\tCOUNTS")
	for _, u := range list {
		counts := "yes"
		if u.Realm != realm {
			counts = "no, turn.realm is " + realm
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Name, u.Realm, u.CreatedAt.Format(time.DateTime), counts)
	}
	return w.Flush()
}
