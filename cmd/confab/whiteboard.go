package main

// Whiteboards: the relay, and what meetings tell it of theirs.

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"

	"confab/cmd/confab/config"
	"confab/muc"
	"confab/web/whiteboard"
)

func (s *server) buildBoards() error {
	if s.cfg.Integrations.Whiteboard != config.Builtin {
		return nil
	}
	r, l := s.cfg.Rooms, s.cfg.Limits
	s.boards = whiteboard.NewRelay(whiteboard.Limits{
		Message: r.WhiteboardMessageMax, Sockets: r.WhiteboardSockets, Rate: l.WhiteboardRate, Bytes: l.WhiteboardBytes,
	}, s.logs.of("web"))
	s.guards.add(s.boards.Guard())
	return nil
}

// watchBoard is told of the metadata key whiteboard, on the room's goroutine.
func (s *server) watchBoard(r *muc.Room, data json.RawMessage) {
	owner := r.JID().String()
	b, ok := whiteboard.ParseBoard(data)
	if !ok {
		s.boards.Forget(owner)
		return
	}
	main, verified := r.Main(), false
	b.Tenant, verified = boardOf(b, main.Tenant(), main.JID().Local, main != r)
	if !s.boards.Name(owner, b, verified) {
		s.logs.of("web").Warn("whiteboard of another meeting named", "room", owner)
	}
}

// boardOf says whether the parameter of a board is that of its meeting, and whether
// the tenant is that of the host. Clients of today hash the path of the page
// (jitsi-meet generateCollabServerUrl), in which the tenant stands unless the host
// says it; those of 2022 hashed all of its address, which nobody here can know.
func boardOf(b whiteboard.Board, tenant, room string, breakout bool) (host string, verified bool) {
	path := "/" + room
	if breakout {
		path += "|" + b.Room
	}
	switch {
	case tenant == "":
		return "", b.Param == hashed(path)
	case b.Param == hashed(path):
		return tenant, true
	}
	return "", b.Param == hashed("/"+tenant+path)
}

func hashed(path string) string {
	sum := md5.Sum([]byte(path)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
