package main

import (
	"net/http"
	"net/url"
	"strings"

	"confab/focus"
)

// Subtitles by a service that the bridge sends the audio to ([transcription]).

// transcription is the table for the focus.
func (c *Config) transcription() focus.Transcription {
	t := &c.Transcription
	out := focus.Transcription{URL: t.URL, PingInterval: t.PingInterval.Duration, PingTimeout: t.PingTimeout.Duration, Headers: http.Header{}}
	for name, value := range t.Headers {
		out.Headers.Set(name, string(value))
	}
	return out
}

// transcriptionHost is the one host that the bridge may send audio to, "" for none.
func (c *Config) transcriptionHost() string {
	u, err := url.Parse(strings.NewReplacer("{{MEETING_ID}}", "", "{{REGION}}", "").Replace(c.Transcription.URL))
	if err != nil {
		return ""
	}
	return u.Host
}

func (c *Config) validateTranscription(p *problems) {
	t := &c.Transcription
	if t.URL == "" {
		return
	}
	const key = "transcription.url"
	host := c.transcriptionHost()
	p.check(strings.HasPrefix(t.URL, "ws://") || strings.HasPrefix(t.URL, "wss://"), key, "%q is no ws:// or wss:// address", t.URL)
	p.check(host != "" && strings.Contains(t.URL, "://"+host), key, "its host must be the same for all meetings")
	p.headers("transcription.headers", t.Headers)
	for name := range t.Headers {
		p.check(!strings.ContainsAny(name, "!#$%&'*+.^_`|~"), "transcription.headers", "%q: only letters, digits and hyphens pass to bridges", name)
	}
	p.check(t.PingInterval.Duration >= 0, "transcription.ping_interval", "is negative")
	p.check(t.PingTimeout.Duration > 0, "transcription.ping_timeout", "must be more than 0")
}
