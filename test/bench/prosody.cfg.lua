-- Prosody as a plain MUC server for "confab-bench room -plain": anonymous logins over
-- WebSocket, no limits, nothing that isn't needed. Run: prosody --config test/bench/prosody.cfg.lua -F
local data = os.getenv("PROSODY_DATA") or "/tmp/confab-bench-prosody"

run_as_root = true
pidfile = data .. "/prosody.pid"
data_path = data
interfaces = { "127.0.0.1" }
c2s_ports = {}
s2s_ports = {}
http_ports = { 15280 }
https_ports = {}
http_interfaces = { "127.0.0.1" }
network_backend = "epoll"
modules_enabled = { "disco", "saslauth", "websocket", "ping" }
modules_disabled = { "s2s", "offline" }
consider_websocket_secure = true
storage = "memory"
log = { warn = "*console" }
limits = {}

VirtualHost "localhost"
    authentication = "anonymous"

Component "conference.localhost" "muc"
    restrict_room_creation = false
    muc_room_locking = false
    muc_room_default_public_jids = true
