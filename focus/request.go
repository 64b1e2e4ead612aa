package focus

import (
	"strconv"
	"strings"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// request is one conference request on its way.
type request struct {
	props *jitmeet.ConferenceRequest
	host  xmpp.JID                    // who asks with the session of a host; zero = nobody
	resp  *jitmeet.ConferenceResponse // of whoever answers, until then
	// preferred says that it is a host, who takes part whatever happens.
	preferred bool
	reply     func(ready bool, err *xmpp.StanzaError)
}

// threshold is the number of a property, or -1.
func (r request) threshold(name string) int {
	if n, err := strconv.Atoi(r.props.Get(name)); err == nil && n >= 0 {
		return n
	}
	return -1
}

func (s *Service) handleServiceIQ(st *xmpp.Stanza) error {
	ns, name := st.PayloadName()
	switch {
	case ns == jitmeet.NSFocus && name == "conference" && st.Type == xmpp.TypeSet:
		s.conferenceIQ(st)
		return nil
	case ns == jitmeet.NSFocus && name == "logout" && st.Type == xmpp.TypeSet:
		if !s.auth.logout(jitmeet.ParseLogout(st.Payload()).SessionID) {
			return jitmeet.SessionInvalid()
		}
		s.router.RouteNow(st.Result((&jitmeet.Logout{}).String()))
		return nil
	case ns == jitmeet.NSFocus && name == "login-url" && st.Type == xmpp.TypeGet:
		return s.loginURL(st)
	case ns == xmpp.NSInfo && st.Type == xmpp.TypeGet:
		s.router.RouteNow(st.Result(serviceDisco.Inner(st.Payload().Get("node"))))
		return nil
	case ns == xmpp.NSItems && st.Type == xmpp.TypeGet:
		s.router.RouteNow(st.Result(xmpp.ItemsInner(st.Payload().Get("node"), nil)))
		return nil
	case ns == xmpp.NSPing && st.Type == xmpp.TypeGet:
		s.router.RouteNow(st.Result(""))
		return nil
	}
	return xmpp.ServiceUnavailable("")
}

var serviceDisco = xmpp.DiscoInfo{
	Identities: []xmpp.Identity{{Category: "component", Type: "generic", Name: "Focus"}},
	Features:   []string{jitmeet.NSFocus, xmpp.NSInfo, xmpp.NSItems, xmpp.NSPing},
}

// loginURL tells clients of long ago where to log in.
func (s *Service) loginURL(st *xmpp.Stanza) error {
	el := st.Payload()
	room, _, _ := strings.Cut(el.Get("room"), "@")
	switch {
	case room == "":
		return xmpp.NotAcceptable("")
	case el.Get("machine-uid") == "":
		return xmpp.BadRequest("Missing mandatory attribute 'machine-uid'")
	}
	var e xmpp.Enc
	e.Start("login-url", jitmeet.NSFocus)
	if !s.cfg.externalLogin() { // JICOFO ExternalJWTAuthority: config.js has it
		e.Attr("url", "./"+room+"?login=true")
	}
	e.End()
	s.router.RouteNow(st.Result(e.String()))
	return nil
}

// conferenceIQ answers a conference request, at once or when the focus is in the
// room.
func (s *Service) conferenceIQ(st *xmpp.Stanza) {
	el := st.Payload()
	req := jitmeet.ParseConferenceRequest(el)
	from := st.From
	// The MUC itself, no occupant of a room, asks on behalf of a plain XMPP client
	// whose join found no room, or a breakout room that the focus isn't in.
	if (s.isMain(from.Domain) || from.Domain == s.cfg.Breakout) && from.Local == "" {
		if j, err := xmpp.ParseJID(el.Get("on-behalf-of")); err == nil {
			from = j
		}
	} else if s.cfg.MayAsk != nil && !s.cfg.MayAsk(from) {
		// LJM Moderator: asks again, later each time.
		s.stats.requests.Add(1)
		s.stats.requestsDenied.Add(1)
		s.router.RouteNow(xmpp.ResourceConstraint("too many requests").Reply(st))
		return
	}
	s.request(req, from, nil, func(resp *jitmeet.ConferenceResponse, err *xmpp.StanzaError) {
		if err != nil {
			s.router.RouteNow(err.Reply(st))
			return
		}
		s.router.RouteNow(st.Result(resp.String()))
	})
}

// request processes a conference request and calls answer exactly once, maybe on
// another goroutine. from is zero when the sender is not known; then bearer, unless
// nil, says whether it has shown a token for a room.
func (s *Service) request(req *jitmeet.ConferenceRequest, from xmpp.JID, bearer func(room xmpp.JID) bool, answer func(*jitmeet.ConferenceResponse, *xmpp.StanzaError)) {
	s.stats.requests.Add(1)
	deny := func(se *xmpp.StanzaError) {
		s.stats.requestsDenied.Add(1)
		answer(nil, se)
	}
	room, se := s.room(req.Room)
	if se != nil {
		deny(se)
		return
	}
	if v := &s.cfg.Visitors; v.on() {
		switch {
		case from.Domain == v.Host:
			deny(xmpp.NotAllowed("visitors have been told where to go"))
			return
		case v.Queue && asksToVisit(req) && !s.exists(room):
			// Nobody is there to look at: no room is opened for that.
			resp := &jitmeet.ConferenceResponse{Room: req.Room, FocusJID: s.cfg.JID.Bare().String()}
			notLive(resp)
			answer(resp, nil)
			return
		}
	}
	// A breakout room is there or not: its MUC knows who may come. Its main room may
	// be opened again by whoever returns from it (JICOFO ConferenceIqHandler).
	var who login
	breakout := room.Domain == s.cfg.Breakout
	if !breakout {
		as := s.cfg.standing(from, room)
		if as == isGuest && bearer != nil && bearer(room) {
			as = isToken
		}
		if who, se = s.auth.authenticate(time.Now(), req, from, room, as); se != nil {
			deny(se)
			return
		}
	}
	returning := s.hasBreakouts(room)
	mayMake := !s.cfg.RequireHost || who.opens || breakout || returning
	opens := !s.exists(room)
	if opens {
		s.stats.requestsNew.Add(1)
		if !mayMake {
			deny(xmpp.NotAuthorized("not authorized user domain"))
			return
		}
	}
	resp := &jitmeet.ConferenceResponse{
		Room: req.Room, FocusJID: s.cfg.JID.Bare().String(),
		// There always are accounts of hosts to log in with.
		Properties: []jitmeet.Property{{Name: "authentication", Value: "true"}, {Name: "externalAuth", Value: strconv.FormatBool(s.cfg.externalLogin())}},
	}
	if s.dialsOut() {
		resp.Properties = append(resp.Properties, jitmeet.Property{Name: "sipGatewayEnabled", Value: "true"})
	}
	if !who.identity.IsZero() {
		resp.Identity, resp.SessionID = who.identity.String(), who.sessionID
	}
	var host xmpp.JID
	if who.sessionID != "" && req.SessionID != "" {
		host = from
	}
	preferred := s.cfg.standing(from, room) == isHost || who.sessionID != "" || !from.IsZero() && s.cfg.Visitors.prefers(from)
	r := request{props: req, host: host, resp: resp, preferred: preferred, reply: func(ready bool, err *xmpp.StanzaError) {
		if err != nil {
			deny(err)
			return
		}
		resp.Ready = ready
		answer(resp, nil)
	}}
	enter := func(creator xmpp.JID, mayMake bool) {
		// A conference that has just ended is not made again by a guest's request.
		c := s.conference(room, creator, mayMake, r)
		if c == nil || c.box.Put(event{request: &r}) != nil {
			r.reply(false, nil) // ending or full: the client asks again
		}
	}
	if s.cfg.Admission == nil || breakout || returning {
		enter(from, mayMake)
		return
	}
	if !opens {
		enter(from, false)
		return
	}
	if !s.mayCreate(from) { // here, to spare who is asked
		r.reply(false, nil)
		return
	}
	asks := who.identity
	if asks.IsZero() {
		asks = from.Bare()
	}
	s.cfg.Admission.Admit(room, asks, func(err *xmpp.StanzaError) {
		if err != nil {
			deny(err)
			return
		}
		enter(xmpp.JID{}, true)
	})
}

// isMain reports whether a domain is that of main rooms, of some tenant perhaps:
// conference.TENANT.DOMAIN, where a tenant is one label.
func (s *Service) isMain(domain string) bool {
	if domain == s.cfg.MUC {
		return true
	}
	first, rest, ok := strings.Cut(s.cfg.MUC, ".")
	tenant, found := strings.CutPrefix(domain, first+".")
	tenant, inside := strings.CutSuffix(tenant, "."+rest)
	return ok && found && inside && tenant != "" && !strings.Contains(tenant, ".")
}

// room reads the room of a request.
func (s *Service) room(text string) (xmpp.JID, *xmpp.StanzaError) {
	if text == "" {
		return xmpp.JID{}, xmpp.BadRequest("No 'room' specified.")
	}
	j, err := xmpp.ParseJID(text)
	if err != nil || j.Local == "" || !j.IsBare() {
		return xmpp.JID{}, xmpp.BadRequest("Invalid 'room'.")
	}
	if !s.isMain(j.Domain) && j.Domain != s.cfg.Breakout || s.cfg.Visitors.on() && strings.HasSuffix(j.Domain, "."+s.cfg.Visitors.Host) {
		return xmpp.JID{}, xmpp.BadRequest("Invalid 'room'.")
	}
	return j, nil
}
