package relay

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"confab/extdisco/stun"
)

func serverTLS(t *testing.T) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*certificate(t)}}
}

func handshaken(t *testing.T, conn net.Conn) net.Conn {
	t.Helper()
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	_ = c.SetDeadline(time.Now().Add(patience))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// Connections whose client has shown no credential are bounded by address and in all;
// those of clients that have are not counted among them.
func TestPendingConnections(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"address": func(c *Config) { c.PendingPerAddress = 3 },
		"all":     func(c *Config) { c.Pending = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, change)
			for range 5 {
				w.login("tcp").allocate()
			}
			open := make([]*caller, 3)
			for i := range open {
				open[i] = w.login("tcp")
			}
			w.call("tcp").gone()
			if st := w.Stats(); st.Pending != 3 || st.OverBudget != 1 {
				t.Errorf("%d pending, %d refused", st.Pending, st.OverBudget)
			}
			open[0].allocate() // makes room for one
			again := w.login("tcp")
			again.allocate()
			again.ask(stun.Refresh, 0, lifetime(0)) // it counts again, and is not put out
			w.call("tcp").gone()
			again.allocate()
			if got := w.Stats().Pending; got != 2 {
				t.Errorf("%d pending", got)
			}
		})
	}
}
