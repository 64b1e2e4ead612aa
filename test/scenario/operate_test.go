package scenario

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"confab/internal/meettest"
)

// admin asks the admin listener.
func (w *world) admin(method, path, body string) (status int, answer string) {
	w.t.Helper()
	base := regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).FindString(w.Log())
	if base == "" {
		w.t.Fatal("the server has not said where its metrics are")
	}
	req, err := http.NewRequestWithContext(w.ctx, method, strings.TrimSuffix(base, "/metrics")+path, strings.NewReader(body))
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+meettest.APIKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.HTTP().Do(req)
	w.must(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	w.must(err)
	return resp.StatusCode, string(b)
}

// metric is the value of one in /metrics.
func (w *world) metric(name string) float64 {
	w.t.Helper()
	_, text := w.admin("GET", "/metrics", "")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		w.t.Fatalf("no metric %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	w.must(err)
	return v
}

// What an operator's dashboards ask is answered out of the meeting that goes on.
func TestFiguresOfAMeeting(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	stats := map[string]any{}
	for stats["endpoints_sending_video"] != 2.0 || stats["bit_rate_upload"] == 0.0 || stats["rtt_aggregate"] == 0.0 { // every 5 s
		_, text := w.admin("GET", "/colibri/stats", "")
		w.must(json.Unmarshal([]byte(text), &stats))
		select {
		case <-w.ctx.Done():
			t.Fatalf("%v", stats)
		case <-time.After(50 * time.Millisecond):
		}
	}
	for key, want := range map[string]any{
		"conferences": 1.0, "participants": 2.0, "endpoints_sending_audio": 2.0, "largest_conference": 2.0, "healthy": true, "drain": false,
		"shutting_down": false, "total_conferences_created": 1.0, "total_ice_succeeded": 2.0, "total_ice_failed": 0.0, "inactive_conferences": 0.0,
	} {
		if stats[key] != want {
			t.Errorf("%s is %v, want %v", key, stats[key], want)
		}
	}
	for name, least := range map[string]float64{
		"jitsi_jvb_local_endpoints": 2, "confab_bridge_packets_received_total": 100, "jitsi_jvb_packets_sent_total": 100,
		"confab_bridge_transit_seconds_count": 100, "confab_bridge_send_run_packets_count": 50, "jitsi_jvb_keyframes_received_total": 2,
		`confab_bridge_srtp_endpoints{profile="SRTP_AEAD_AES_128_GCM"}`: 2, "confab_bridge_self_tests_total": 1, "jitsi_jvb_healthy": 1,
	} {
		if got := w.metric(name); got < least {
			t.Errorf("%s is %v", name, got)
		}
	}
	for name, want := range map[string]float64{
		"jitsi_jicofo_conferences": 1, "jitsi_jicofo_participants_current": 2, "jitsi_jicofo_participants_pairs": 4, "jitsi_jicofo_healthy": 1,
		"jitsi_jicofo_jingle_session_accept_received_total": 2, "jitsi_jicofo_bridge_selector_bridge_count_operational": 1, "jitsi_jvb_mucs_joined": 1,
		`jitsi_jvb_conferences_by_video_sender_bucket{le="1"}`: 0, `jitsi_jvb_conferences_by_video_sender_bucket{le="2"}`: 1,
	} {
		if got := w.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if _, text := w.admin("GET", "/stats", ""); !strings.Contains(text, `"conference_sizes":[0,0,1,0`) || !strings.Contains(text, `"bit_rate_upload":`) {
		t.Errorf("/stats: %s", text)
	}
	for _, name := range []string{"confab_bridge_self_tests_failed_total", "confab_bridge_packets_foreign_total", "jitsi_jvb_drain_mode", "confab_bridge_excess_total"} {
		if got := w.metric(name); got != 0 {
			t.Errorf("%s is %v", name, got)
		}
	}

	if code, _ := w.admin("POST", "/colibri/drain/enable", ""); code != http.StatusOK || w.metric("jitsi_jvb_drain_mode") != 1 {
		t.Errorf("drain: %d", code)
	}
	if _, text := w.admin("GET", "/colibri/drain", ""); text != `{"drain":true}` {
		t.Errorf("drain: %s", text)
	}
	c := w.join("Cem", nil) // is still let in
	w.talk(a, c)
	if code, text := w.admin("POST", "/_/api/v1/shutdown", `{"graceful":false}`); code != http.StatusAccepted {
		t.Errorf("shutdown: %d %s", code, text)
	}
	select {
	case <-w.Done():
	case <-w.ctx.Done():
		t.Error("still there after a forced shutdown")
	}
}
