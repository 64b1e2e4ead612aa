package services_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confab/internal/meettest/roomworld"
	"confab/internal/meettest/script"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// crowd are people of one room who store as much as they can.
type crowd struct {
	t     *testing.T
	w     *roomworld.World
	conns map[string]script.Conn
}

func (c *crowd) send(who, stanza string) {
	c.t.Helper()
	conn := c.conns[who]
	if conn == nil {
		var err error
		if conn, err = c.w.Dial(who); err != nil {
			c.t.Fatal(err)
		}
		c.conns[who] = conn
	}
	if err := conn.Send(stanza); err != nil {
		c.t.Fatal(err)
	}
}

func (c *crowd) join(who, nick, name string) {
	c.t.Helper()
	c.send(who, `<presence to="r@conference.meet.example/`+nick+`"><x xmlns="http://jabber.org/protocol/muc"/><nick xmlns="http://jabber.org/protocol/nick">`+name+`</nick></presence>`)
}

// largest is the size of the greatest message from an address that waits for who,
// and how many there are.
func (c *crowd) largest(who, from string) (size, n int) {
	c.t.Helper()
	for {
		x, err := c.conns[who].Receive()
		if err != nil {
			c.t.Fatal(err)
		}
		if x == "" {
			return size, n
		}
		if strings.HasPrefix(x, "<message") && strings.Contains(x[:min(len(x), 300)], `from="`+from) {
			size, n = max(size, len(x)), n+1
		}
	}
}

// What one message to a joiner may be long: a connection on which more than
// xmpp.Config.QueuedBytes waits is ended, and all services want their part of it.
const most = 1 << 20

// worst is what becomes longest on the wire.
var worst = strings.Repeat(`"`, 30000)

// Nobody makes a room's polls so long that others can't join.
func TestPollsStayBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opt := component(services.PollsName, "polls.meet.example", services.NewPolls(services.PollsConfig{Domain: "polls.meet.example", Max: 128}))
		c := crowd{t, roomworld.New(t, opt), map[string]script.Conn{}}
		c.join("F", "focus", "")
		c.join("1", "aaaa1111", worst)
		poll := func(text string) {
			c.send("1", `<message to="polls.meet.example"><json-message xmlns="http://jitsi.org/jitmeet">`+text+`</json-message></message>`)
		}
		for i := range 128 {
			poll(fmt.Sprintf(`{"type":"polls","command":"new-poll","pollId":"p%d","question":"q","answers":[%s{"name":""}]}`, i, strings.Repeat(`{"name":""},`, 31)))
			poll(fmt.Sprintf(`{"type":"polls","command":"answer-poll","pollId":"p%d","answers":[%strue]}`, i, strings.Repeat(`true,`, 31)))
		}
		c.largest("1", "polls")
		c.join("2", "bbbb2222", "Bea")
		if size, n := c.largest("2", "polls"); n != 1 || size > most {
			t.Errorf("%d messages, %d bytes", n, size)
		}
	})
}

// Nor the list of shared files.
func TestFilesStayBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opt := component(services.FileSharingName, "filesharing.meet.example",
			services.NewFileSharing(services.FileSharingConfig{Domain: "filesharing.meet.example", Max: 1000}))
		opt.Client = func(p xmpp.Port) muc.Client {
			client := roomworld.DefaultClient(p)
			client.Features = map[string]bool{services.FileUpload: true}
			return client
		}
		c := crowd{t, roomworld.New(t, opt), map[string]script.Conn{}}
		c.join("F", "focus", "")
		c.join("1", "aaaa1111", worst)
		for i := range 200 {
			c.send("1", fmt.Sprintf(`<message to="filesharing.meet.example"><file-sharing xmlns="http://jitsi.org/jitmeet" type="add">{"fileId":"f%d","fileName":"%s","fileSize":1}</file-sharing></message>`,
				i, strings.Repeat("&lt;", 3900)))
		}
		c.join("2", "bbbb2222", "Bea")
		size, n := c.largest("2", "filesharing")
		if n != 1 || size > most {
			t.Errorf("%d messages, %d bytes", n, size)
		}
		// What is taken off the list makes room.
		c.largest("1", "filesharing")
		c.send("1", `<message to="filesharing.meet.example"><file-sharing xmlns="http://jitsi.org/jitmeet" type="remove" fileId="f0"/></message>`)
		c.send("1", `<message to="filesharing.meet.example"><file-sharing xmlns="http://jitsi.org/jitmeet" type="add">{"fileId":"g","fileName":"g","fileSize":1}</file-sharing></message>`)
		if _, n := c.largest("2", "filesharing"); n != 2 {
			t.Errorf("%d messages about a file that went and one that came", n)
		}
	})
}

// Nor the statistics of those who have left.
func TestSpeakersStayBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const domain = "speakerstats.meet.example"
		c := crowd{t, roomworld.New(t, roomworld.Options{
			Policy:   func(p *policy.Config) { p.JoinRate = 0 },
			Services: []func(*muc.Room) muc.RoomService{services.NewSpeakerStats(domain)},
			Build: func(w *roomworld.World) {
				w.Router.Serve(domain, services.NewSpeakerStatsComponent(domain, w.Main, w.Router))
			},
		}), map[string]script.Conn{}}
		c.join("F", "focus", "")
		c.join("3", "cccc3333", "Cia")
		c.send("3", `<message to="speakerstats.meet.example"><speakerstats xmlns="http://jitsi.org/jitmeet" room="r@conference.meet.example"/></message>`)
		for i := range 400 {
			nick := fmt.Sprintf("n%07d", i)
			c.join("1", nick, worst)
			for range 8 {
				c.send("1", `<message to="speakerstats.meet.example"><faceLandmarks xmlns="http://jitsi.org/jitmeet" room="r@conference.meet.example" faceExpression="`+
					strings.Repeat("&quot;", 32)+`" timestamp="1" duration="1"/></message>`)
			}
			c.send("1", `<presence to="r@conference.meet.example/`+nick+`" type="unavailable"/>`)
		}
		c.join("2", "bbbb2222", "Bea")
		got := ""
		for {
			x, err := c.conns["2"].Receive()
			if err != nil {
				t.Fatal(err)
			}
			if x == "" {
				break
			}
			if strings.Contains(x[:min(len(x), 300)], `from="speakerstats`) {
				got = x
			}
		}
		// The one who speaks is not forgotten for it.
		if len(got) > most || !strings.Contains(got, "cccc3333") {
			t.Errorf("%d bytes of statistics: %.300s", len(got), got)
		}
	})
}

// The names of people in breakout rooms, which everybody gets anew each time, are cut.
func TestBreakoutNamesStayBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := crowd{t, roomworld.New(t, breakoutWorld(nil)), map[string]script.Conn{}}
		c.join("F", "focus", "")
		c.join("1", "aaaa1111", "Ann")
		c.send("F", `<iq type="set" id="g" to="r@conference.meet.example"><query xmlns="http://jabber.org/protocol/muc#admin"><item affiliation="owner" jid="u1@meet.example"/></query></iq>`)
		for i := range 12 {
			c.join(fmt.Sprint(i+2), fmt.Sprintf("nnnn%04d", i), worst)
		}
		c.send("1", `<message to="breakout.meet.example"><breakout_rooms type="features/breakout-rooms/add" subject="Room"/></message>`)
		synctest.Wait()
		time.Sleep(5 * time.Second) // of the bubble: updates are gathered
		if size, n := c.largest("1", "breakout"); n == 0 || size > 64<<10 {
			t.Errorf("%d messages, %d bytes", n, size)
		}
	})
}

// Strangers in a lobby don't make its list so long that a moderator can't read it.
func TestLobbyStaysBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		waiting := policy.DefaultConfig()
		waiting.JoinRate = 0
		w, _ := lobbyWorld{waiting: &waiting}.open(t)
		c := crowd{t, w, map[string]script.Conn{}}
		c.join("F", "focus", "")
		c.join("1", "aaaa1111", "Ann")
		c.send("F", `<iq type="set" id="g" to="r@conference.meet.example"><query xmlns="http://jabber.org/protocol/muc#admin"><item affiliation="owner" jid="u1@meet.example"/></query></iq>`)
		synctest.Wait()
		c.send("1", `<iq type="set" id="l" to="r@conference.meet.example"><query xmlns="http://jabber.org/protocol/muc#owner"><x xmlns="jabber:x:data" type="submit"><field var="FORM_TYPE"><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var="muc#roomconfig_membersonly"><value>1</value></field></x></query></iq>`)
		synctest.Wait()
		lobby := func(who, nick, more string) {
			c.send(who, `<presence to="r@lobby.meet.example/`+nick+`"><x xmlns="http://jabber.org/protocol/muc"/><nick xmlns="http://jabber.org/protocol/nick">`+nick+`</nick>`+more+`</presence>`)
		}
		for i := range 74 {
			who, nick := fmt.Sprint(i+2), fmt.Sprintf("nnnn%04d", i)
			lobby(who, nick, "")
			synctest.Wait()
			lobby(who, nick, "<avatar-url>"+worst+"</avatar-url>")
		}
		synctest.Wait()
		lobby("1", "aaaa1111", "")
		size, n := 0, 0
		for {
			x, err := c.conns["1"].Receive()
			if err != nil {
				t.Fatal(err)
			}
			if x == "" {
				break
			}
			if strings.HasPrefix(x, "<presence") && strings.Contains(x[:300], `from="r@lobby`) {
				size, n = size+len(x), n+1
			}
		}
		if n != 75 || size > most {
			t.Errorf("%d presences of %d bytes", n, size)
		}
	})
}
