package config

// What is settled about single tenants, and about services beside the meeting.

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// tenantName is a tenant as it stands in addresses, between two dots: the path says
// My.Team, the address my_team (room-services.md §4.1).
var tenantName = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,62}$`)

func (c *Config) validateTenants(p *problems) {
	const key = "tenants"
	var names, hosts []string
	for i, t := range c.Tenants {
		bad := func(ok bool, what string) { p.check(ok, key, "entry %d: %s", i+1, what) }
		bad(tenantName.MatchString(t.Name), "name is no lower-case path segment without dots")
		bad(!slices.Contains(names, t.Name), "name is in the list twice")
		bad(t.MaxOccupants >= 0, "max_occupants is negative")
		names = append(names, t.Name)
		for j, h := range t.Hosts {
			t.Hosts[j] = strings.ToLower(strings.TrimSuffix(h, "."))
			bad(ValidDomain(t.Hosts[j]) && t.Hosts[j] != c.Domain && !slices.Contains(hosts, t.Hosts[j]), "hosts: a name is none, or somebody else's")
			hosts = append(hosts, t.Hosts[j])
		}
	}
}

// Builtin is the value of an integration that is a part of this program.
const Builtin = "builtin"

func (c *Config) validateIntegrations(p *problems) {
	i := &c.Integrations
	if i.Files != Builtin {
		p.httpURL("integrations.files", i.Files)
	}
	if i.Whiteboard != Builtin {
		p.httpURL("integrations.whiteboard", i.Whiteboard)
	}
	p.httpURL("integrations.etherpad", i.Etherpad)
}

// TranscriptionHost is the one host that the bridge may send audio to, "" for none.
func (c *Config) TranscriptionHost() string {
	u, err := url.Parse(strings.NewReplacer("{{MEETING_ID}}", "", "{{REGION}}", "").Replace(c.Transcription.URL))
	if err != nil {
		return ""
	}
	return u.Host
}

func (c *Config) validateTranscription(p *problems) {
	t := &c.Transcription
	if t.URL == "" {
		return
	}
	const key = "transcription.url"
	host := c.TranscriptionHost()
	p.check(strings.HasPrefix(t.URL, "ws://") || strings.HasPrefix(t.URL, "wss://"), key, "%q is no ws:// or wss:// address", t.URL)
	p.check(host != "" && strings.Contains(t.URL, "://"+host), key, "its host must be the same for all meetings")
	p.headers("transcription.headers", t.Headers)
	for name := range t.Headers {
		p.check(!strings.ContainsAny(name, "!#$%&'*+.^_`|~"), "transcription.headers", "%q: only letters, digits and hyphens pass to bridges", name)
	}
	p.check(t.PingInterval.Duration >= 0, "transcription.ping_interval", "is negative")
	p.check(t.PingTimeout.Duration > 0, "transcription.ping_timeout", "must be more than 0")
}

// headerName is a field name of HTTP (RFC 9110 §5.1).
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// headers accepts those of requests that we make.
func (p *problems) headers(key string, h map[string]Secret) {
	for name, value := range h {
		p.check(headerName.MatchString(name) && !strings.ContainsFunc(string(value), unicode.IsControl), key, "%q is no header, or its value is none", name)
	}
}

// httpURL accepts an address, or "".
func (p *problems) httpURL(key, v string) {
	u, err := url.Parse(v)
	p.check(v == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == "",
		key, "%q is no http:// or https:// address", v)
}

// TenantHosts are the names under which the sites of tenants are found.
func TenantHosts(tenants []Tenant) (out []string) {
	for _, t := range tenants {
		out = append(out, t.Hosts...)
	}
	return out
}
