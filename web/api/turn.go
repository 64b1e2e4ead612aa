package api

import (
	"net/http"
	"strconv"
	"time"
)

// Allocation is what the TURN server of this process relays for one client.
type Allocation struct {
	Number      uint64    `json:"number"`    // of this run of the server
	ID          string    `json:"id"`        // part of its username: names a session, not a person
	Transport   string    `json:"transport"` // udp, tcp, tls or dtls
	Client      string    `json:"client"`
	Server      string    `json:"server"`
	Relayed     []string  `json:"relayed"`
	BeganAt     time.Time `json:"began_at"`
	ExpiresAt   time.Time `json:"expires_at"` // unless it is refreshed
	Permissions int       `json:"permissions"`
	Channels    int       `json:"channels"`

	PacketsToPeers   uint64 `json:"packets_to_peers"`
	BytesToPeers     uint64 `json:"bytes_to_peers"`
	PacketsFromPeers uint64 `json:"packets_from_peers"`
	BytesFromPeers   uint64 `json:"bytes_from_peers"`
}

// listAllocations shows addresses of people: to the operator, not to every host.
func (s *Server) listAllocations(r *http.Request) (int, any, error) {
	if !operates(r) {
		return 0, nil, notOperator()
	}
	limit, err := pageLimit(r)
	if err != nil {
		return 0, nil, err
	}
	var after uint64
	if v := r.URL.Query().Get("after"); v != "" {
		if after, err = allocationNumber(v); err != nil {
			return 0, nil, fail(http.StatusBadRequest, "after is no number of an allocation.")
		}
	}
	list, more := s.cfg.Relay.Allocations(after, limit)
	if list == nil {
		list = []Allocation{}
	}
	return http.StatusOK, struct {
		Allocations []Allocation `json:"allocations"`
		More        bool         `json:"more"`
	}{list, more}, nil
}

func (s *Server) endAllocation(r *http.Request) (int, any, error) {
	if !operates(r) {
		return 0, nil, notOperator()
	}
	n, err := allocationNumber(r.PathValue("number"))
	if err != nil {
		return 0, nil, fail(http.StatusBadRequest, "This is no number of an allocation.")
	}
	if !s.cfg.Relay.EndAllocation(n) {
		return 0, nil, fail(http.StatusNotFound, "There is no such allocation.")
	}
	return http.StatusNoContent, nil, nil
}

func allocationNumber(v string) (uint64, error) { return strconv.ParseUint(v, 10, 64) }
