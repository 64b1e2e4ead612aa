package script

import (
	"testing"
	"time"
)

// echo is a server that sends back what it gets.
type echo struct{ queue []string }

func (e *echo) Send(x string) error { e.queue = append(e.queue, x); return nil }
func (e *echo) Close() error        { return nil }
func (e *echo) Receive() (string, error) {
	if len(e.queue) == 0 {
		return "", nil
	}
	x := e.queue[0]
	e.queue = e.queue[1:]
	return x, nil
}

func TestScript(t *testing.T) {
	t.Parallel()
	var waited time.Duration
	Run(t, `
# Order of attributes and children does not matter.
C1: <message to='a@b' id='x1'><body>hi &amp; {who}</body><a xmlns='n' q='1'/></message>
S1: <message id='{id}' to='a@b'><a q='1' xmlns='n'/>
      <body>hi &amp; {somebody}</body></message>
C1: <message id='{id}' to='{somebody}'><x><y/></x></message>
S1: <message ...><x>...</x></message>
S1: nothing
C1: <iq/>
S1: skip
wait 3s
C1!
`, Env{
		Dial: func(string) (Conn, error) { return &echo{}, nil },
		Wait: func(d time.Duration) { waited += d },
		Vars: map[string]string{"who": "joe"},
	})
	if waited != 3*time.Second {
		t.Fatal(waited)
	}
}

func TestMismatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ want, got string }{
		{`<iq/>`, `<iq id='1'/>`},
		{`<iq id='1'/>`, `<iq id='2'/>`},
		{`<iq id='1' ...></iq>`, `<iq/>`},
		{`<iq><a/></iq>`, `<iq/>`},
		{`<iq/>`, `<iq><a/></iq>`},
		{`<iq><a xmlns='x'/></iq>`, `<iq><a xmlns='y'/></iq>`},
		{`<iq>t</iq>`, `<iq>u</iq>`},
		{`<iq id='{a}' to='{a}'/>`, `<iq id='1' to='2'/>`},
	} {
		r := runner{vars: map[string]string{}}
		if r.match(c.want, c.got) == nil {
			t.Errorf("%s matches %s", c.want, c.got)
		}
	}
}
