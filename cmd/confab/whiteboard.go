package main

// Whiteboards: the relay, and what meetings tell it of theirs.

import (
	"crypto/md5" //nolint:gosec // what clients hash by; nothing is protected by it
	"encoding/hex"
	"encoding/json"

	"confab/muc"
	"confab/web/whiteboard"
)

func (s *server) buildBoards() error {
	if s.cfg.Integrations.Whiteboard != builtin {
		return nil
	}
	r, l := s.cfg.Rooms, s.cfg.Limits
	s.boards = whiteboard.NewRelay(whiteboard.Limits{
		Message: r.WhiteboardMessageMax, Sockets: r.WhiteboardSockets, Rate: l.WhiteboardRate, Bytes: l.WhiteboardBytes,
	}, s.logs.of("web"))
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
	if !s.boards.Name(owner, b, b.Param == boardParam(r.Main().Tenant(), r.Main().JID().Local, b.Room, r.Main() != r)) {
		s.logs.of("web").Warn("whiteboard of another meeting named", "room", owner)
	}
}

// boardParam is the parameter room of the relay's address as clients of today make
// it for a meeting (jitsi-meet generateCollabServerUrl): a hash of the page's path.
// Those of 2022 hashed all of its address, which nobody here can know.
func boardParam(tenant, room, id string, breakout bool) string {
	path := "/" + room
	if tenant != "" {
		path = "/" + tenant + path
	}
	if breakout {
		path += "|" + id
	}
	sum := md5.Sum([]byte(path)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
