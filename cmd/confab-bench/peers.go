package main

import (
	"errors"
	"flag"
	"fmt"
)

// peers are the servers that are named on the command line.
type peers struct {
	janusURL, galeneURL, livekitURL string
	janusPID, galenePID, livekitPID int
	galeneGroup                     string
	livekitKey, livekitSecret       string
}

func (p *peers) flags(fs *flag.FlagSet) {
	fs.StringVar(&p.janusURL, "janus", "", "WebSocket API of a Janus Gateway on this machine")
	fs.IntVar(&p.janusPID, "janus-pid", 0, "its process")
	fs.StringVar(&p.galeneURL, "galene", "", "WebSocket of a Galene server on this machine")
	fs.IntVar(&p.galenePID, "galene-pid", 0, "its process")
	fs.StringVar(&p.galeneGroup, "galene-group", "bench", "its group with automatic subgroups that everybody may present in")
	fs.StringVar(&p.livekitURL, "livekit", "", "WebSocket of a LiveKit server on this machine, without a path")
	fs.IntVar(&p.livekitPID, "livekit-pid", 0, "its process")
	fs.StringVar(&p.livekitKey, "livekit-key", "devkey", "its API key")
	fs.StringVar(&p.livekitSecret, "livekit-secret", "secret", "and its secret")
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
	add("galene", p.galeneURL, p.galenePID, galenePeer{p.galeneURL, p.galeneGroup})
	add("livekit", p.livekitURL, p.livekitPID, livekitPeer{livekitURL(p.livekitURL), p.livekitKey, p.livekitSecret})
	if len(out) == 0 {
		return nil, errors.New("the process of a server is needed: -pid")
	}
	return out, err
}
