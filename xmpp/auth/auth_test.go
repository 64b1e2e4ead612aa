package auth

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"testing"

	"mellium.im/sasl"

	"confab/xmpp"
	"confab/xmpp/scram"
)

// accounts are held in memory: password by user@host.
type accounts map[string]scram.Keys

func (a accounts) Account(_ context.Context, user, host string) (Record, bool, error) {
	k, ok := a[user+"@"+host]
	return Record{Keys: k}, ok, nil
}

type brokenAccounts struct{}

func (brokenAccounts) Account(context.Context, string, string) (Record, bool, error) {
	return Record{}, false, errors.New("database is down, StoredKey=secret")
}

func oneAccount(t testing.TB) *Password {
	t.Helper()
	keys, err := scram.DeriveKeys("pencil", []byte("0123456789abcdef"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	return NewPassword(accounts{"user@meet.test": keys}, []byte("secret"), nil)
}

var peer = &xmpp.Peer{Host: xmpp.MustJID("meet.test"), Secure: true}

// exchangeWith lets mellium's client log in.
func exchangeWith(t *testing.T, a xmpp.Authenticator, m sasl.Mechanism, user, password, authzid string) (xmpp.Account, error) {
	t.Helper()
	c := sasl.NewClient(m, sasl.Credentials(func() ([]byte, []byte, []byte) {
		return []byte(user), []byte(password), []byte(authzid)
	}))
	x, err := a.Start(t.Context(), peer, m.Name)
	if err != nil {
		return xmpp.Account{}, err
	}
	more, msg, err := c.Step(nil)
	for {
		if err != nil {
			t.Fatalf("client: %v", err)
		}
		out, done, err := x.Step(msg)
		if err != nil {
			return x.Account(), err
		}
		if more {
			if more, msg, err = c.Step(out); err != nil {
				t.Fatalf("client refuses %q: %v", out, err)
			}
		}
		if done {
			return x.Account(), nil
		}
	}
}

func TestPasswordLogins(t *testing.T) {
	t.Parallel()
	a := oneAccount(t)
	for _, m := range []sasl.Mechanism{sasl.ScramSha1, sasl.ScramSha256, sasl.Plain} {
		for _, c := range []struct{ user, password, authzid, want string }{
			{"user", "pencil", "", ""},
			{"USER", "pencil", "", ""},
			{"user", "pencil", "user@meet.test", ""},
			{"user", "pencil", "admin@meet.test", "invalid-authzid"},
			{"user", "pen", "", "not-authorized"},
			{"nobody", "pencil", "", "not-authorized"},
			{"us er", "pencil", "", "not-authorized"},
			{"user@meet.test/x", "pencil", "", "not-authorized"},
		} {
			acc, err := exchangeWith(t, a, m, c.user, c.password, c.authzid)
			var f *xmpp.SASLFailure
			switch {
			case c.want == "" && (err != nil || acc.Name != "user"):
				t.Errorf("%s %q: %v %v", m.Name, c.user, acc, err)
			case c.want != "" && (!errors.As(err, &f) || f.Cond != c.want || f.Text != ""):
				t.Errorf("%s %q as %q: %v, want %s", m.Name, c.user, c.authzid, err, c.want)
			}
		}
	}
}

// RFC 5802 §5 and RFC 7677 §3 hold one exchange each.
func TestScramVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, salt, nonce, first, serverFirst, final, serverFinal string
	}{
		{
			"SCRAM-SHA-1", "QSXCR+Q6sek8bf92", "3rfcNHYJY1ZVvWVs7j",
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		{
			"SCRAM-SHA-256", "W22ZaJ0SNY7soEsUEjb6gQ==", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	} {
		salt := unbase64(t, c.salt)
		keys, err := scram.DeriveKeys("pencil", salt, 4096)
		if err != nil {
			t.Fatal(err)
		}
		x, _, err := scramFirst([]byte(c.first), nil, func(string, string) (scram.Keys, error) { return keys, nil })
		if err != nil {
			t.Fatal(err)
		}
		x.nonce += c.nonce // the vectors' nonce is no base64 of bytes
		x.serverFirst = c.serverFirst
		h, pair := sha1Of(keys)
		if c.name == "SCRAM-SHA-256" {
			h, pair = sha256Of(keys)
		}
		out, err := x.final([]byte(c.final), h, pair)
		if err != nil || string(out) != c.serverFinal {
			t.Errorf("%s: %q, %v", c.name, out, err)
		}
	}
}

func TestScramMalformed(t *testing.T) {
	t.Parallel()
	a := oneAccount(t)
	for _, first := range []string{
		"", "n", "n,", "n,,", "n,,n=user", "n,,r=x,n=user", "p=tls-unique,,n=user,r=x", "x,,n=user,r=x",
		"n,b=x,n=user,r=x", "n,a==,n=user,r=x", "n,,n=,r=x", "n,,n=us=er,r=x", "n,,n=user,r=", "n,,n=user,r=\x01",
		"n,,m=ext,n=user,r=x",
	} {
		x, err := a.Start(t.Context(), peer, "SCRAM-SHA-1")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = x.Step([]byte(first)); !isFailure(err, "malformed-request") {
			t.Errorf("%q: %v", first, err)
		}
	}
	for _, final := range []string{"", "c=biws", "c=biws,r=@,p=!", "c=biws,r=@,p=AAAA", "c=eSws,r=@,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "c=biws,r=other,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="} {
		x, err := a.Start(t.Context(), peer, "SCRAM-SHA-1")
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := x.Step([]byte("n,,n=user,r=x"))
		if err != nil {
			t.Fatal(err)
		}
		nonce := regexp.MustCompile(`^r=([^,]+),`).FindSubmatch(out)[1]
		if _, _, err = x.Step(bytes.ReplaceAll([]byte(final), []byte("@"), nonce)); !isFailure(err, "malformed-request") {
			t.Errorf("%q: %v", final, err)
		}
	}
}

// An unknown user gets a challenge that does not change.
func TestScramUnknownUser(t *testing.T) {
	t.Parallel()
	salt := func(a *Password, user string) string {
		x, err := a.Start(t.Context(), peer, "SCRAM-SHA-1")
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := x.Step([]byte("n,,n=" + user + ",r=x"))
		if err != nil {
			t.Fatal(err)
		}
		return string(regexp.MustCompile(`s=[^,]+,i=\d+$`).Find(out))
	}
	a, again := oneAccount(t), oneAccount(t)
	if s := salt(a, "nobody"); s == "" || s != salt(again, "nobody") || s == salt(a, "nobody2") {
		t.Errorf("salts %q, %q, %q", s, salt(again, "nobody"), salt(a, "nobody2"))
	}
}

func TestBrokenStorage(t *testing.T) {
	t.Parallel()
	for _, m := range []sasl.Mechanism{sasl.ScramSha1, sasl.Plain} {
		_, err := exchangeWith(t, NewPassword(brokenAccounts{}, nil, nil), m, "user", "pencil", "")
		var f *xmpp.SASLFailure
		if err == nil || errors.As(err, &f) {
			t.Errorf("%s: %v, want the storage error, which the server hides", m.Name, err)
		}
	}
}

func TestPlainNeedsTLS(t *testing.T) {
	t.Parallel()
	a := oneAccount(t)
	if got := a.Mechanisms(&xmpp.Peer{}); len(got) != 2 {
		t.Errorf("offers %v without TLS", got)
	}
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	one, err := exchangeWith(t, Token{Guests: true}, sasl.Anonymous, "", "", "")
	two, err2 := exchangeWith(t, Token{Guests: true}, sasl.Anonymous, "", "", "")
	if err != nil || err2 != nil || one == two || !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(one.Name) {
		t.Errorf("%v %v, %v %v", one, err, two, err2)
	}
	x, _ := Token{Guests: true}.Start(t.Context(), &xmpp.Peer{Resumes: "old"}, "ANONYMOUS")
	if _, done, err := x.Step(nil); !done || err != nil || x.Account().Name != "old" {
		t.Errorf("%v %v", x.Account(), err)
	}
}

// Nothing that a client says makes the exchange panic, succeed, or show a key.
func FuzzScram(f *testing.F) {
	f.Add([]byte("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"), []byte("c=biws,r=x,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="))
	f.Add([]byte("y,a=user,n=us=2Cer,r=x,ext=1"), []byte("c=,r=,p="))
	f.Add([]byte("p=tls-exporter,,n=user,r=x"), []byte(",p="))
	a := oneAccount(f)
	f.Fuzz(func(t *testing.T, first, final []byte) {
		x, err := a.Start(t.Context(), peer, "SCRAM-SHA-256")
		if err != nil {
			t.Fatal(err)
		}
		out, done, err := x.Step(first)
		if done {
			t.Fatal("logged in by one message")
		}
		if err != nil {
			return
		}
		if m := regexp.MustCompile(`^r=([^,]+),`).FindSubmatch(out); m != nil {
			final = bytes.ReplaceAll(final, []byte("r=x"), append([]byte("r="), m[1]...))
		}
		if _, done, err = x.Step(final); done || err == nil {
			t.Fatalf("logged in without the password: %q %q", first, final)
		}
	})
}

func TestLoginsAreReported(t *testing.T) {
	t.Parallel()
	keys, err := scram.DeriveKeys("pencil", []byte("0123456789abcdef"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	a := NewPassword(accounts{"user@meet.test": keys}, nil, func(user, host string) { got = append(got, user+"@"+host) })
	for _, m := range []sasl.Mechanism{sasl.ScramSha1, sasl.ScramSha256, sasl.Plain} {
		for _, c := range []struct{ user, password string }{{"user", "pen"}, {"nobody", "pencil"}, {"USER", "pencil"}} {
			got = nil
			_, err := exchangeWith(t, a, m, c.user, c.password, "")
			if (err == nil) != (len(got) == 1) || err == nil && got[0] != "user@meet.test" {
				t.Errorf("%s %s %s: reported %q, %v", m.Name, c.user, c.password, got, err)
			}
		}
	}
}
