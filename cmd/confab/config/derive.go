package config

// What depends on the machine, or on other keys.

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// derive fills the keys whose default depends on the machine or on other keys
// (deployment.md §7.1, §15).
func (c *Config) derive() {
	if c.Domain == "" {
		c.Domain = machineDomain()
	}
	c.Domain = strings.ToLower(strings.TrimSuffix(c.Domain, "."))
	if c.DataDir == "" {
		c.DataDir = defaultDataDir(os.Getenv, os.Getuid())
	}
	if c.Rooms.Moderators == "" {
		c.Rooms.Moderators = "first"
		if c.RequireHost || c.Rooms.WaitForHost {
			c.Rooms.Moderators = "hosts"
		}
	}
	c.deriveJWT()
	for i, a := range c.Aliases {
		c.Aliases[i] = strings.ToLower(strings.TrimSuffix(a, "."))
	}
	for i, a := range c.TURN.SNI {
		c.TURN.SNI[i] = strings.ToLower(strings.TrimSuffix(a, "."))
	}
	c.TURN.Realm = cmp.Or(c.TURN.Realm, c.Domain)
	if !slices.Contains(c.Node.Roles, "turn") {
		c.TURN.Mode = "off"
	}
	if c.RelayOnly() && c.TLS.Cert == "" && c.ACME == "" { // nobody would trust one that is made here
		c.TURN.TLS, c.TURN.DTLS = false, false
	}
	// A second server on the machine must get along with only its flags.
	if c.Where("turn.port") == "--turn-port" && !c.IsSet("turn.tls_port") {
		c.TURN.TLSPort = 0
	}
	if c.Where("xmpp.port") == "--xmpp-port" && !c.IsSet("xmpp.tls_port") {
		c.XMPP.TLSPort = 0
		if c.XMPP.Port > 0 && c.XMPP.Port < 65535 {
			c.XMPP.TLSPort = c.XMPP.Port + 1
		}
	}
	if c.Where("web.listen") == "--https" && !c.IsSet("web.http_listen") {
		if !slices.ContainsFunc(c.Web.Listen, func(a string) bool { return strings.HasSuffix(a, ":443") }) {
			c.Web.HTTPListen = ""
		}
	}
}

// machineDomain is the machine's full name, or localhost. The network is not
// asked: a start must not wait for it.
func machineDomain() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	if strings.Contains(name, ".") && ValidDomain(strings.ToLower(name)) {
		return strings.ToLower(name)
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return "localhost"
	}
	// As hostname --fqdn does: the first name of the line that lists ours.
	for line := range strings.Lines(string(hosts)) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 1 && slices.Contains(f[2:], name) &&
			strings.HasPrefix(f[1], name+".") && ValidDomain(strings.ToLower(f[1])) {
			return strings.ToLower(f[1])
		}
	}
	return "localhost"
}

// defaultDataDir is systemd's state directory; /var/lib/confab for who may write
// there; else the directory for data of the user.
func defaultDataDir(getenv func(string) string, uid int) string {
	if dir, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return dir
	}
	const system = "/var/lib/confab"
	if uid == 0 || Writable(system) {
		return system
	}
	if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "confab")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "confab")
	}
	return system
}

// Writable reports whether we may make files in dir. It leaves nothing behind.
func Writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}
