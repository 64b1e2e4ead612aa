package main

import (
	"errors"
	"flag"
	"fmt"
)

// peers are the servers that are named on the command line.
type peers struct {
	janusURL string
	janusPID int
}

func (p *peers) flags(fs *flag.FlagSet) {
	fs.StringVar(&p.janusURL, "janus", "", "WebSocket API of a Janus Gateway on this machine")
	fs.IntVar(&p.janusPID, "janus-pid", 0, "its process")
}

// contenders lists them, Confab first.
func (p *peers) contenders(t *target) (out []contender, err error) {
	if t.pid != 0 {
		out = append(out, contender{"confab", t.pid, confab{t}})
	}
	add := func(name, url string, pid int, peer peer) {
		if url == "" {
			return
		}
		if pid == 0 {
			err = fmt.Errorf("-%s needs -%s-pid", name, name)
		}
		out = append(out, contender{name, pid, peer})
	}
	add("janus", p.janusURL, p.janusPID, janusPeer{p.janusURL})
	if len(out) == 0 {
		return nil, errors.New("the process of a server is needed: -pid")
	}
	return out, err
}
