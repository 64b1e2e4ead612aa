package main

import (
	"testing"

	"confab/web/api"
)

func TestStockPathsAreASwitch(t *testing.T) {
	t.Parallel()
	s := &server{api: api.New(api.Config{})}
	for _, on := range []bool{false, true} {
		s.cfg.Admin.StockPaths = on
		h := s.adminHandlers()
		if h["/_/api/v1/"] == nil {
			t.Error("no API")
		}
		for _, pattern := range []string{"GET /room-size", "GET /room-census", "POST /end-meeting", "PUT /room-info"} {
			if (h[pattern] != nil) != on {
				t.Errorf("%s: %v with admin.stock_paths = %v", pattern, h[pattern] != nil, on)
			}
		}
	}
}
