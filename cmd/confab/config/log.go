package config

import "log/slog"

var Levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// Components are the parts that log.components names.
var Components = []string{"main", "storage", "tls", "web", "xmpp", "muc", "brewery", "focus", "bridge", "transport", "forward", "turn", "api", "reservations"}

// Facilities are those of RFC 5424 §6.2.1 that programs use.
var Facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9, "authpriv": 10,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}
