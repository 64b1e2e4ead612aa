package main

import "confab/xmpp"

// names are the addresses that all derive from the domain (deployment.md §2).
// Clients of every age assume them, so none of them is a setting.
type names struct {
	domain, guest, auth        string
	conference, internal       string
	focus, metadata            string
	avModeration               string
	focusJID, bridgeJID        xmpp.JID
	brewery                    xmpp.JID
	recorders, sipRecorders    xmpp.JID // breweries of external programs
	gateways                   xmpp.JID
	recorder                   string
	guests                     bool // have a host of their own
	loginHosts, serviceDomains []string
}

func newNames(domain, bridgeID string, guests bool) names {
	n := names{
		domain: domain, guest: "guest." + domain, auth: "auth." + domain,
		conference: "conference." + domain, internal: "internal.auth." + domain,
		focus: "focus." + domain, metadata: "metadata." + domain, recorder: "recorder." + domain,
		avModeration: "avmoderation." + domain,
	}
	n.focusJID = xmpp.JID{Local: "focus", Domain: n.auth, Resource: "focus"}
	n.bridgeJID = xmpp.JID{Local: "jvb", Domain: n.auth, Resource: bridgeID}
	n.brewery = xmpp.JID{Local: "jvbbrewery", Domain: n.internal}
	n.recorders = xmpp.JID{Local: "jibribrewery", Domain: n.internal}
	n.sipRecorders = xmpp.JID{Local: "sipjibribrewery", Domain: n.internal}
	n.gateways = xmpp.JID{Local: "jigasibrewery", Domain: n.internal}
	n.loginHosts = []string{n.domain}
	if n.guests = guests; guests {
		n.loginHosts = append(n.loginHosts, n.guest)
	}
	n.loginHosts = append(n.loginHosts, n.recorder)
	n.serviceDomains = []string{n.auth, n.recorder}
	return n
}

// breweries are the accounts that show themselves in each brewery.
func (n names) breweries() map[string]string {
	return map[string]string{
		n.brewery.Local: n.bridgeJID.Local, n.recorders.Local: externals["jibri"].control,
		n.sipRecorders.Local: externals["jibri"].control, n.gateways.Local: externals["jigasi"].control,
	}
}

// component is the address of a service of the rooms.
func (n names) component(label string) string { return label + "." + n.domain }
