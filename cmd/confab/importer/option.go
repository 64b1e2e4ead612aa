package importer

// What single options of a turnserver.conf do.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"confab/cmd/confab/config"
)

func takeFlag(key string) func(*Import, coturnLine) {
	return func(c *Import, l coturnLine) {
		on, _ := l.on()
		c.set(key, on, l)
	}
}

func takeNot(key string) func(*Import, coturnLine) {
	return func(c *Import, l coturnLine) {
		on, _ := l.on()
		c.set(key, !on, l)
	}
}

func takeChoice(key, on, off string) func(*Import, coturnLine) {
	return func(c *Import, l coturnLine) {
		value := off
		if yes, _ := l.on(); yes {
			value = on
		}
		c.set(key, value, l)
	}
}

// digits tells what is wrong with a number.
func (c *Import) digits(l coturnLine) (int, bool) {
	n, all, ok := l.digits()
	switch {
	case !ok:
		c.tell(l.lost(fmt.Sprintf("%q is no number", l.value)))
	case !all:
		c.tell(l.note(fmt.Sprintf("read as %d", n)))
	}
	return n, ok
}

func takeNumber(key string) func(*Import, coturnLine) {
	return func(c *Import, l coturnLine) {
		if n, ok := c.digits(l); ok {
			c.set(key, n, l)
		}
	}
}

// takeQuota is a number of which 0 is no limit there, and not possible here.
func takeQuota(key string) func(*Import, coturnLine) {
	return func(c *Import, l coturnLine) {
		n, ok := c.digits(l)
		switch {
		case ok && n == 0:
			c.tell(l.lost("there is always a limit; " + key + " may be as high as you like"))
		case ok:
			c.set(key, n, l)
		}
	}
}

// takeSeconds is a number of seconds; without one it is standard.
func takeSeconds(key string, standard int, least time.Duration) func(*Import, coturnLine) {
	return func(c *Import, l coturnLine) {
		n := standard
		if l.value != "" {
			var ok bool
			if n, ok = c.digits(l); !ok {
				return
			}
		}
		const most = 24 * time.Hour
		d := time.Duration(n) * time.Second
		switch {
		case n == 0:
			c.tell(l.lost("there is always an end; " + key + " may be up to 24h"))
		case d < least || d > most:
			c.tell(l.lost(fmt.Sprintf("%v is not between %v and %v", d, least, most)))
		default:
			c.set(key, shortDuration(d), l)
		}
	}
}

// shortDuration is "10m" where Duration.String is "10m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func refuse(why string) func(*Import, coturnLine) {
	return func(c *Import, l coturnLine) {
		if on, _ := l.on(); on {
			c.tell(finding{l.number, makesRefusal, l.name + ": " + why})
			return
		}
		c.tell(l.idle("is off"))
	}
}

func (c *Import) address(l coturnLine, list *[]coturnAddress) {
	a, err := netip.ParseAddr(strings.TrimSpace(l.value))
	if err != nil || a.Zone() != "" {
		c.tell(l.lost(fmt.Sprintf("%q is no address", l.value)))
		return
	}
	if !slices.ContainsFunc(*list, func(h coturnAddress) bool { return h.addr == a }) {
		*list = append(*list, coturnAddress{l, a})
	}
}

func (c *Import) noTCP(l coturnLine) {
	takeNot("turn.tcp")(c, l)
	if on, _ := l.on(); on {
		c.tell(l.note("Debian's template of Jitsi has this; without it clients whose network breaks TLS still get through"))
	}
}

func (c *Import) noTCPRelay(l coturnLine) {
	if on, _ := l.on(); on {
		c.set("turn.tcp_relay", false, l)
		return
	}
	c.tell(l.lost("TCP is relayed only to peers that are named: turn.tcp_relay with turn.peers.allow"))
}

func (c *Import) stunOnly(l coturnLine) {
	if l.name == "no-turn" {
		c.tell(l.note("coturn has no such option and ignores it; taken for stun-only, which is meant"))
	}
	if on, _ := l.on(); on {
		c.set("turn.mode", "stun", l)
	}
}

func (c *Import) rateLimit(l coturnLine) {
	if on, _ := l.on(); !on {
		c.set("turn.unauthorized_rate", 0, l)
		return
	}
	c.tell(l.idle("always on (turn.unauthorized_rate)"))
}

func (c *Import) addressFamily(l coturnLine) {
	if l.value == "keep" {
		c.tell(l.idle("always so"))
		return
	}
	c.tell(l.lost("the relayed address is of the client's family unless the client asks for another"))
}

func (c *Import) realm(l coturnLine) {
	if l.value == "" || len(l.value) > 127 {
		c.tell(l.lost("must have 1 to 127 bytes"))
		return
	}
	c.set("turn.realm", l.value, l)
}

func (c *Import) separator(l coturnLine) {
	if strings.HasPrefix(l.value, ":") {
		c.tell(l.idle("the colon is what is used here"))
		return
	}
	c.tell(l.lost("credentials have a colon between the time and the name"))
}

func (c *Import) facility(l coturnLine) {
	name := strings.ToLower(strings.TrimSpace(l.value))
	name = strings.TrimPrefix(name, "log_")
	if _, known := config.Facilities[name]; !known {
		c.tell(l.lost(fmt.Sprintf("%q is no facility", l.value)))
		return
	}
	c.set("log.facility", name, l)
}

func (c *Import) level(l coturnLine) {
	level := strings.ToLower(l.value)
	if level == "warning" {
		level = "warn"
	}
	if _, known := config.Levels[level]; !known {
		c.tell(l.lost(fmt.Sprintf("%q is none of debug, info, warning, error", l.value)))
		return
	}
	c.set("log.level", level, l)
}

func (c *Import) verbose(l coturnLine) {
	if on, _ := l.on(); on {
		c.set("log.components", map[string]string{"turn": "debug"}, l)
	}
}

// port reads a port; 0 and nothing stand for the default.
func (c *Import) port(l coturnLine) (int, bool) {
	if l.number == 0 || l.value == "" {
		return 0, false
	}
	n, ok := c.digits(l)
	if ok && n > 65535 {
		c.tell(l.lost(fmt.Sprintf("%d is no port", n)))
		return 0, false
	}
	return n, ok && n != 0
}
