package reservations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"confab/xmpp"
)

// Bounds of what a booking service may answer.
const (
	maxBody     = 64 << 10
	maxText     = 1000
	maxPassword = 4096
	maxID       = 1000
	maxDuration = 10 * 365 * 24 * time.Hour
)

// result is a booking as the service describes it.
type result struct {
	id           string
	start        time.Time
	duration     time.Duration
	maxOccupants int
	password     string
	lobby        bool
}

// refusal is why a room is not opened.
type refusal struct {
	code int
	text string
}

// lookup asks for a room, and for the booking that is in its way if there is one:
// the service answers with that of the meeting that has been booked before.
func (s *Service) lookup(ctx context.Context, cfg *Config, name string, who xmpp.JID, now time.Time) (*result, *refusal) {
	owner := ""
	if !who.IsZero() {
		owner = who.Bare().String()
	}
	form := url.Values{
		"name": {name}, "start_time": {now.UTC().Format("2006-01-02T15:04:05.000Z")}, "mail_owner": {owner},
	}
	code, body, ref := s.call(ctx, cfg, http.MethodPost, "/conference", form)
	if ref != nil {
		return nil, ref
	}
	if code == http.StatusConflict {
		id := conflictID(body)
		if id == "" {
			return nil, &refusal{http.StatusConflict, textInvalid}
		}
		if code, body, ref = s.call(ctx, cfg, http.MethodGet, "/conference/"+url.PathEscape(id), nil); ref != nil {
			return nil, ref
		}
		if code == http.StatusCreated || code == http.StatusConflict {
			return nil, &refusal{code, message(body)}
		}
	}
	if code != http.StatusOK && code != http.StatusCreated {
		return nil, &refusal{code, message(body)}
	}
	res, err := parse(body, name)
	if err != nil {
		s.log.Warn("reservation answer not understood", "name", name, "err", err)
		return nil, &refusal{http.StatusInternalServerError, textInvalid}
	}
	return res, nil
}

// release tells the booking service that a meeting has ended.
func (s *Service) release(room xmpp.JID, id string) {
	cfg := s.cfg.Load()
	if cfg.URL == "" {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, cfg.longest())
	defer cancel()
	code, _, ref := s.call(ctx, cfg, http.MethodDelete, "/conference/"+url.PathEscape(id), nil)
	if ref != nil {
		s.log.Warn("reservation not released", "room", room.String(), "err", ref.text)
		return
	}
	s.log.Debug("reservation released", "room", room.String(), "code", code)
}

// call makes one request, repeated after failures but not after a timeout.
func (s *Service) call(ctx context.Context, cfg *Config, method, path string, form url.Values) (int, []byte, *refusal) {
	for try := 0; ; try++ {
		code, body, err := s.once(ctx, cfg, method, path, form)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return 0, nil, &refusal{http.StatusInternalServerError, textTimeout}
		case ctx.Err() != nil:
			return 0, nil, &refusal{http.StatusInternalServerError, textUnreachable}
		case err == nil && code < 500:
			return code, body, nil
		case try < cfg.Retries:
			s.log.Warn("reservation request failed, will be repeated", "method", method, "code", code, "err", err)
			if !pause(ctx, cfg.RetryDelay) {
				return 0, nil, &refusal{http.StatusInternalServerError, textTimeout}
			}
		case err != nil:
			return 0, nil, &refusal{http.StatusInternalServerError, textUnreachable}
		default:
			return code, body, nil
		}
	}
}

func (s *Service) once(ctx context.Context, cfg *Config, method, path string, form url.Values) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(cfg.URL, "/")+path, body)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("User-Agent", "Confab")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range cfg.Headers {
		req.Header.Set(k, v)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, b, nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// parse reads a booking. Numbers may come as strings: the stock module takes both.
func parse(body []byte, name string) (*result, error) {
	var in struct {
		ID           scalar  `json:"id"`
		Name         *string `json:"name"`
		MailOwner    *scalar `json:"mail_owner"`
		StartTime    string  `json:"start_time"`
		Duration     scalar  `json:"duration"`
		MaxOccupants *scalar `json:"max_occupants"`
		Lobby        scalar  `json:"lobby"`
		Password     *string `json:"password"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, errors.New("no JSON of the right form") // the cause quotes a password
	}
	res := &result{id: string(in.ID), lobby: in.Lobby == "true"}
	switch {
	case in.Name == nil || !strings.EqualFold(*in.Name, name):
		return nil, errors.New("name is missing or another")
	case res.id == "" || len(res.id) > maxID:
		return nil, errors.New("id is missing or too long")
	case in.MailOwner == nil:
		return nil, errors.New("mail_owner is missing")
	}
	seconds, err := strconv.ParseFloat(string(in.Duration), 64)
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > maxDuration.Seconds() {
		return nil, errors.New("duration is missing or invalid")
	}
	res.duration = time.Duration(seconds * float64(time.Second))
	if res.start, err = parseTime(in.StartTime); err != nil {
		return nil, errors.New("start_time is missing or invalid")
	}
	if in.MaxOccupants != nil {
		n, err := strconv.ParseFloat(string(*in.MaxOccupants), 64)
		if err != nil || !(n >= 1) || n > math.MaxInt32 {
			return nil, errors.New("max_occupants is invalid")
		}
		res.maxOccupants = int(n)
	}
	if in.Password != nil {
		if res.password = *in.Password; len(res.password) > maxPassword || clean(res.password) != res.password {
			return nil, errors.New("password is invalid")
		}
	}
	return res, nil
}

// parseTime reads the forms in which Java and others write a time.
func parseTime(s string) (time.Time, error) {
	var t time.Time
	var err error
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07"} {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, err
}

// scalar is a JSON string, number or truth value as text; null is "".
type scalar string

// UnmarshalJSON implements json.Unmarshaler.
func (s *scalar) UnmarshalJSON(b []byte) error {
	switch {
	case bytes.Equal(b, []byte("null")):
		return nil
	case len(b) > 0 && b[0] == '"':
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		*s = scalar(text)
	case len(b) > 0 && (b[0] == '{' || b[0] == '['):
		return errors.New("no scalar")
	default:
		*s = scalar(b)
	}
	return nil
}

func conflictID(body []byte) string {
	var in struct {
		ID scalar `json:"conflict_id"`
	}
	if json.Unmarshal(body, &in) != nil || len(in.ID) > maxID {
		return ""
	}
	return string(in.ID)
}

// message is the text of a refusal, which clients show.
func message(body []byte) string {
	var in struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &in) != nil {
		return textRejected
	}
	text := clean(in.Message)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	if text == "" {
		return textRejected
	}
	return text
}

// clean takes out what XML can't hold.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r == 0xfffe || r == 0xffff || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
