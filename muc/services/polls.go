package services

import (
	"encoding/json"
	"errors"
	"slices"

	"confab/muc"
	"confab/xmpp"
)

// PollsName is the service, its identity and the type of its messages.
const PollsName = "polls"

// Bounds of polls. What a client may send and how many answers it shows are those of
// the stock component and of the app; the others keep a room's polls, which every
// joiner gets, to a size.
const (
	pollBytes   = 1024      // of one command
	pollAnswers = 32        // of one poll
	pollsBytes  = 768 << 10 // of all polls of a room and their votes, as joiners get them
)

// PollsConfig is what polls need to know.
type PollsConfig struct {
	Domain string // of the component: polls.DOMAIN
	Max    int    // polls of a room (rooms.polls_max)
}

// Polls are those of one room. Main rooms and breakout rooms have their own
// (room-services.md §6.3).
type Polls struct {
	cfg  PollsConfig
	room *muc.Room
	from xmpp.JID
	all  []*poll
	size int
	old  [2]*xmpp.Stanza // what a joiner gets, with and without names; nil: to be encoded anew
}

// poll is one poll, as joiners get it.
type poll struct {
	ID         string       `json:"pollId"`
	SenderID   string       `json:"senderId"`
	SenderName string       `json:"senderName,omitempty"`
	Question   string       `json:"question"`
	Answers    []pollAnswer `json:"answers"`
}

type pollAnswer struct {
	Name   string  `json:"name"`
	Voters []voter `json:"voters,omitempty"`
}

type voter struct {
	ID   string `json:"id"` // nick
	Name string `json:"name,omitempty"`
	size int    // in a message
}

// NewPolls makes the service of one room; it fits muc.Config.Services.
func NewPolls(cfg PollsConfig) func(*muc.Room) muc.RoomService {
	return func(r *muc.Room) muc.RoomService {
		return &Polls{cfg: cfg, room: r, from: xmpp.JID{Domain: cfg.Domain}}
	}
}

// Name implements muc.RoomService.
func (*Polls) Name() string { return PollsName }

// pollCommand is what a client asks for: a new poll, or its vote.
type pollCommand struct {
	Type     string          `json:"type"`
	Command  string          `json:"command"`
	ID       string          `json:"pollId"`
	Question string          `json:"question"`
	Answers  json.RawMessage `json:"answers"`

	choices []pollAnswer // of a new poll
	votes   []bool       // of a vote, one for each choice
}

var errPoll = errors.New("malformed poll")

// parsePoll reads a command.
func parsePoll(text string) (*pollCommand, error) {
	if len(text) >= pollBytes {
		return nil, errPoll
	}
	c := &pollCommand{}
	if err := json.Unmarshal([]byte(text), c); err != nil {
		return nil, err
	}
	if c.Type != PollsName || c.ID == "" || c.ID == "__proto__" {
		return nil, errPoll
	}
	switch c.Command {
	case "new-poll":
		var choices []struct {
			Name *string `json:"name"`
		}
		if err := json.Unmarshal(c.Answers, &choices); err != nil {
			return nil, err
		}
		for _, a := range choices {
			if a.Name == nil {
				return nil, errPoll
			}
			c.choices = append(c.choices, pollAnswer{Name: *a.Name})
		}
		if c.Question == "" || len(choices) == 0 || len(choices) > pollAnswers {
			return nil, errPoll
		}
	case "answer-poll":
		var votes []*bool
		if err := json.Unmarshal(c.Answers, &votes); err != nil {
			return nil, err
		}
		for _, v := range votes {
			if v == nil {
				return nil, errPoll // JSON null
			}
			c.votes = append(c.votes, *v)
		}
		if len(votes) == 0 {
			return nil, errPoll
		}
	default:
		return nil, errPoll
	}
	return c, nil
}

// Command implements muc.Command.
func (p *Polls) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	el := s.Child(nsJitsi, "json-message")
	if el == nil {
		el = s.Child(xmpp.NSClient, "json-message")
	}
	switch {
	case r != p.room && !r.Visitors():
		return xmpp.ServiceUnavailable("") // breakout rooms without polls
	case el == nil, s.Type == xmpp.TypeGroupchat, s.Has(xmpp.NSClient, "body"):
		return xmpp.BadRequest("")
	}
	c, err := parsePoll(el.Text)
	if err != nil {
		return xmpp.BadRequest("")
	}
	i := slices.IndexFunc(p.all, func(x *poll) bool { return x.ID == c.ID })
	if c.Command == "answer-poll" {
		if i < 0 {
			return xmpp.ItemNotFound("")
		}
		return p.vote(o, p.all[i], c)
	}
	switch {
	case o.Role < muc.RoleParticipant:
		return xmpp.NotAllowed("Poll cannot be created by visitor node") // they only vote
	case i >= 0:
		return xmpp.NotAllowed("Poll already exists")
	case MetadataOf(r.Main()).restricted("pollCreationRestricted") && !o.Allowed("create-polls"):
		return xmpp.NotAllowed("Creation of polls not allowed for user")
	case len(p.all) >= p.cfg.Max:
		return xmpp.ResourceConstraint("too many polls")
	}
	return p.open(o, c)
}

// open tells everybody of a new poll, its maker too: LJM shows it only then.
func (p *Polls) open(o *muc.Occupant, c *pollCommand) error {
	x := &poll{ID: c.ID, SenderID: o.Nick, Question: c.Question, Answers: c.choices}
	x.SenderName, _ = o.Name()
	size := wireBytes(x)
	if p.size+size > pollsBytes {
		return xmpp.ResourceConstraint("too many polls")
	}
	p.all = append(p.all, x)
	p.size += size
	p.tell(func(bool) any {
		return struct {
			Type     string       `json:"type"`
			Command  string       `json:"command"`
			ID       string       `json:"pollId"`
			Question string       `json:"question"`
			Answers  []pollAnswer `json:"answers"`
			SenderID string       `json:"senderId"`
		}{PollsName, c.Command, c.ID, c.Question, c.choices, o.Nick}
	})
	return nil
}

// vote replaces what the occupant has voted for before.
func (p *Polls) vote(o *muc.Occupant, x *poll, c *pollCommand) error {
	if len(c.votes) != len(x.Answers) {
		return xmpp.BadRequest("")
	}
	name, _ := o.Name()
	me := voter{ID: o.Nick, Name: name}
	me.size = wireBytes(me)
	mine := func(v voter) bool { return v.ID == me.ID }
	changed, grown := false, 0
	for i, a := range x.Answers {
		had := slices.IndexFunc(a.Voters, mine)
		changed = changed || (had >= 0) != c.votes[i]
		if had >= 0 {
			grown -= a.Voters[had].size
		}
		if c.votes[i] {
			grown += me.size
		}
	}
	switch {
	case !changed:
		return nil
	case grown > 0 && p.size+grown > pollsBytes:
		return xmpp.ResourceConstraint("too many votes")
	}
	p.size += grown
	for i := range x.Answers {
		a := &x.Answers[i]
		a.Voters = slices.DeleteFunc(a.Voters, mine)
		if c.votes[i] {
			a.Voters = append(a.Voters, me)
		}
	}
	p.tell(func(named bool) any {
		msg := struct {
			Type       string `json:"type"`
			Command    string `json:"command"`
			ID         string `json:"pollId"`
			Answers    []bool `json:"answers"`
			SenderID   string `json:"senderId"`
			SenderName string `json:"senderName,omitempty"`
		}{PollsName, c.Command, c.ID, c.votes, me.ID, me.Name}
		if !named {
			msg.SenderName = ""
		}
		return msg
	})
	return nil
}

// tell sends a change to all in the room, with names to those who may know them. The
// visitors are beside the main room.
func (p *Polls) tell(message func(named bool) any) {
	p.old = [2]*xmpp.Stanza{}
	send := p.room.Broadcast
	if p.room.Main() == p.room {
		send = p.room.BroadcastMeeting
	}
	hidden := p.room.Main().Policy().HideNames
	send(p.stanza(message(true)), func(o *muc.Occupant) bool { return !hidden || !p.room.HidesNames(o) })
	if hidden {
		send(p.stanza(message(false)), p.room.HidesNames)
	}
}

func (p *Polls) stanza(v any) *xmpp.Stanza {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and booleans
	}
	return xmpp.NewStanza(xmpp.Message, "", "", p.from, xmpp.JID{}, jsonMessage("", b))
}

// ForVisitors implements muc.ForVisitors: they vote.
func (*Polls) ForVisitors() {}

// Visited implements muc.Visited.
func (p *Polls) Visited(r *muc.Room, o *muc.Occupant) { p.Joined(r, o) }

// Joined implements muc.Joined: the joiner gets all polls, with the votes.
func (p *Polls) Joined(r *muc.Room, o *muc.Occupant) {
	if len(p.all) == 0 || o.Admin() {
		return
	}
	which, polls := 0, p.all
	if r.HidesNames(o) {
		which, polls = 1, nameless(p.all)
	}
	if p.old[which] == nil {
		p.old[which] = p.stanza(struct {
			Type    string  `json:"type"`
			Command string  `json:"command"`
			Polls   []*poll `json:"polls"`
		}{PollsName, "old-polls", polls})
	}
	r.Tell(o, p.old[which])
}

// nameless are polls without the names of those who made them and voted.
func nameless(polls []*poll) []*poll {
	out := make([]*poll, len(polls))
	for i, x := range polls {
		y := *x
		y.SenderName, y.Answers = "", slices.Clone(x.Answers)
		for j, a := range y.Answers {
			y.Answers[j].Voters = slices.Clone(a.Voters)
			for k := range a.Voters {
				y.Answers[j].Voters[k].Name = ""
			}
		}
		out[i] = &y
	}
	return out
}
