package main

// Accounts of external programs: recorders (Jibri), gateways and transcribers (Jigasi).

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"text/template"

	"confab/cmd/confab/config"
	"confab/storage"
)

// external is an external program: the accounts that it needs, and its
// configuration with them.
type external struct {
	control, meeting string // users on auth.DOMAIN and on recorder.DOMAIN
	config           *template.Template
}

// externals are the programs by the names in "confab service".
var externals = map[string]external{
	"jibri":  {"jibri", "recorder", jibriConf},
	"jigasi": {"jigasi", "transcriber", jigasiConf},
}

// access is what a configuration is made of.
type access struct {
	Domain, Auth, Recorder, Internal string
	Control, Meeting                 string
	ControlPassword, MeetingPassword string
	URL                              string
	Port                             int
}

// ControlPassword64 is how Jigasi wants it.
func (a access) ControlPassword64() string {
	return base64.StdEncoding.EncodeToString([]byte(a.ControlPassword))
}

// service is "confab service add|passwd|remove jibri|jigasi". It works on the
// database directly, as "confab user" does.
func (p *program) service(ctx context.Context, args []string) error {
	rest, err := p.parse(p.flagSet("service"), args)
	if err != nil {
		return err
	}
	if len(rest) != 2 || !slices.Contains([]string{"add", "passwd", "remove"}, rest[0]) {
		return usageError("service: add, passwd or remove, and jibri or jigasi expected")
	}
	action, name := rest[0], rest[1]
	x, known := externals[name]
	if !known {
		return usageError("service " + action + ": jibri or jigasi expected")
	}
	return p.withStorage(ctx, func(cfg config.Config, st Storage) error {
		n := newNames(cfg.Domain, bridgeID, false)
		if action == "remove" {
			return errors.Join(p.removeUser(ctx, st, x.control, n.auth), p.removeUser(ctx, st, x.meeting, n.recorder))
		}
		return p.introduce(ctx, cfg, st, n, name, action == "add")
	})
}

// introduce gives an external program its accounts and prints its configuration.
func (p *program) introduce(ctx context.Context, cfg config.Config, st Storage, n names, name string, add bool) error {
	x := externals[name]
	a := access{
		Domain: n.domain, Auth: n.auth, Recorder: n.recorder, Internal: n.internal,
		Control: x.control, Meeting: x.meeting, ControlPassword: newPassword(), MeetingPassword: newPassword(),
		URL: publicURL(cfg.Domain, cfg.Web.Listen[0], cfg.TLS.Mode == "off"), Port: cfg.XMPP.Port,
	}
	if cfg.XMPP.Port == 0 {
		fmt.Fprintln(p.stderr, "confab: warning: xmpp.port is 0: the program can't reach this server")
	}
	if err := setServiceAccounts(ctx, st, a, add, name); err != nil {
		return err
	}
	return x.config.Execute(p.stdout, a)
}

// setServiceAccounts makes both accounts, or gives those that are there other
// passwords.
func setServiceAccounts(ctx context.Context, st Storage, a access, add bool, name string) error {
	for _, x := range []struct{ user, host, password string }{
		{a.Control, a.Auth, a.ControlPassword}, {a.Meeting, a.Recorder, a.MeetingPassword},
	} {
		acc, err := newAccount(x.user, x.host, x.password, false)
		if err != nil {
			return err
		}
		if err = storage.ErrNotFound; !add {
			err = st.UpdateAccount(ctx, acc)
		}
		if errors.Is(err, storage.ErrNotFound) {
			err = st.CreateAccount(ctx, acc)
		}
		if errors.Is(err, storage.ErrConflict) {
			err = fmt.Errorf("account %s@%s exists already: confab service passwd %s makes new passwords", x.user, x.host, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// jibriConf is for /etc/jitsi/jibri/jibri.conf. Keys are those of its example.
var jibriConf = template.Must(template.New("jibri").Parse(`# For /etc/jitsi/jibri/jibri.conf of each recorder. The passwords are shown once.
jibri {
  id = ""  // any name; empty for one per machine
  single-use-mode = false
  api.xmpp.environments = [
    {
      name = "{{.Domain}}"
      xmpp-server-hosts = ["{{.Domain}}"]
      xmpp-domain = "{{.Domain}}"
      base-url = "{{.URL}}"
      control-muc {
        domain = "{{.Internal}}"
        room-name = "jibribrewery"
        nickname = "jibri-1"  // another one for each recorder
      }
      // Only for recorders that call SIP devices:
      // sip-control-muc {
      //   domain = "{{.Internal}}"
      //   room-name = "sipjibribrewery"
      //   nickname = "jibri-1"
      // }
      control-login {
        domain = "{{.Auth}}"
        port = {{.Port}}
        username = "{{.Control}}"
        password = "{{.ControlPassword}}"
      }
      call-login {
        domain = "{{.Recorder}}"
        username = "{{.Meeting}}"
        password = "{{.MeetingPassword}}"
      }
      strip-from-room-domain = "conference."
      usage-timeout = 0
      // The certificate is for {{.Domain}}, the recorder asks for {{.Auth}}.
      trust-all-xmpp-certs = true
    }
  ]
}
`))

// jigasiConf is for sip-communicator.properties, what differs from the packaged one.
var jigasiConf = template.Must(template.New("jigasi").Funcs(template.FuncMap{"account": func() string {
	return "net.java.sip.communicator.impl.protocol.jabber.acc-xmpp-1"
}}).Parse(`# For /etc/jitsi/jigasi/sip-communicator.properties, in place of the lines with the same
# names; the SIP account stays as it is. The passwords are shown once.
org.jitsi.jigasi.BREWERY_ENABLED=true
org.jitsi.jigasi.ALLOWED_JID=jigasibrewery@{{.Internal}}
org.jitsi.jigasi.MUC_SERVICE_ADDRESS=conference.{{.Domain}}
{{account}}=acc-xmpp-1
{{account}}.ACCOUNT_UID=Jabber:{{.Control}}@{{.Auth}}
{{account}}.USER_ID={{.Control}}@{{.Auth}}
{{account}}.PASSWORD={{.ControlPassword64}}
{{account}}.IS_SERVER_OVERRIDDEN=true
{{account}}.SERVER_ADDRESS={{.Domain}}
{{account}}.SERVER_PORT={{.Port}}
{{account}}.ALLOW_NON_SECURE=true
{{account}}.BREWERY=jigasibrewery@{{.Internal}}
{{account}}.DOMAIN_BASE={{.Domain}}
org.jitsi.jigasi.xmpp.acc.IS_SERVER_OVERRIDDEN=true
org.jitsi.jigasi.xmpp.acc.SERVER_ADDRESS={{.Domain}}
org.jitsi.jigasi.xmpp.acc.SERVER_PORT={{.Port}}
# The certificate is for {{.Domain}}, the gateway asks for {{.Auth}}.
net.java.sip.communicator.service.gui.ALWAYS_TRUST_MODE_ENABLED=true

# For a transcriber, which is another process than a telephone gateway:
#org.jitsi.jigasi.ENABLE_SIP=false
#org.jitsi.jigasi.ENABLE_TRANSCRIPTION=true
#org.jitsi.jigasi.xmpp.acc.USER_ID={{.Meeting}}@{{.Recorder}}
#org.jitsi.jigasi.xmpp.acc.PASS={{.MeetingPassword}}
#org.jitsi.jigasi.xmpp.acc.ANONYMOUS_AUTH=false
# For a telephone gateway that is to come in as one of the server's own, and so past a
# password, the same three lines.
`))
