package main

import (
	"net/http"

	"confab/cmd/confab/config"
	"confab/focus"
)

// Subtitles by a service that the bridge sends the audio to ([transcription]).

// transcriptionOf is the table for the focus.
func transcriptionOf(c config.Config) focus.Transcription {
	t := &c.Transcription
	out := focus.Transcription{URL: t.URL, PingInterval: t.PingInterval.Duration, PingTimeout: t.PingTimeout.Duration, Headers: http.Header{}}
	for name, value := range t.Headers {
		out.Headers.Set(name, string(value))
	}
	return out
}
