# Starts the servers that benchmarks load, each on core $SERVER_CPU and on loopback,
# and sets SERVERS to the arguments by which confab-bench finds them. To be sourced.
#
#   PEERS  the servers to compare with, of: janus galene livekit (default: those found),
#          and coturn, for turn.sh
#   GALENE, LIVEKIT, JANUS  their programs; docs/benchmarks.md says where they come from

SERVER_CPU=${SERVER_CPU:-0}
CLIENT_CPU=${CLIENT_CPU:-1}
GALENE=${GALENE:-/tmp/peers/bin/galene}
LIVEKIT=${LIVEKIT:-/tmp/peers/bin/livekit-server}
JANUS=${JANUS:-$(command -v janus || true)}
TURNSERVER=${TURNSERVER:-$(command -v turnserver || true)}
TURN_SECRET=0123456789abcdef0123456789abcdef # of these servers only
work=$(mktemp -d "${TMPDIR:-/tmp}/confab-bench.XXXXXX")
started=()

stop_servers() {
	for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$work"
	if [ "$routed" = yes ]; then ip route del local "$NETWORK" dev "$device"; fi
}
trap stop_servers EXIT

# start NAME COMMAND…: its process id in $pid, its output in $work/NAME.log.
start() {
	local name=$1
	shift
	${NICE:+nice -n "$NICE"} taskset -c "$SERVER_CPU" "$@" >"$work/$name.log" 2>&1 </dev/null &
	pid=$!
	started+=("$pid")
}

# answers URL: waits until something listens there.
answers() {
	for _ in $(seq 100); do
		curl -ksS -o /dev/null --max-time 1 "$1" 2>/dev/null && return
		sleep 0.1
	done
	echo "nothing answers at $1" >&2
	tail -n 20 "$work"/*.log >&2
	return 1
}

start_confab() {
	cat >"$work/confab.toml" <<-EOF
		[network]
		public_addresses = ["127.0.0.1"]
		ipv6 = false
		[web]
		http_listen = ""
		[admin]
		listen = "127.0.0.1:0"
		[limits]
		login_rate = 0
		presence_rate = 0
		iq_rate = 0
		message_rate = 0
		command_rate = 0
		connections_per_ip = 0
		requests_per_ip = 0
		[bridge]
		max_bitrate = 1000000000
		[rooms]
		max_occupants = 0
		join_rate = 0
		[turn]
		secrets = ["$TURN_SECRET"]
		tls_port = 28479
		min_port = 50000
		max_port = 58999
		quota_user = 9000
		quota_address = 9000
		quota_total = 9000
		max_bps = 0
		[turn.peers]
		allow = ["$NETWORK"]
		[log]
		level = "warn"
	EOF
	start confab "${CONFAB:-confab}" serve --config "$work/confab.toml" --data "$work/confab" --domain bench.test \
		--https 127.0.0.1:28443 --media-port 28000 --turn-port 28478 --xmpp-port 28222
	answers https://127.0.0.1:28443/about/health
	# shellcheck disable=SC2034 # for turn.sh
	CONFAB_PID=$pid
	SERVERS+=(-url wss://127.0.0.1:28443/xmpp-websocket -domain bench.test -pid "$pid")
}

start_janus() {
	mkdir -p "$work/janus"
	cat >"$work/janus/janus.jcfg" <<-EOF
		general: {
			plugins_folder = "$(dirname "$(dirname "$JANUS")")/lib/$(uname -m)-linux-gnu/janus/plugins"
			transports_folder = "$(dirname "$(dirname "$JANUS")")/lib/$(uname -m)-linux-gnu/janus/transports"
			debug_level = 2
			session_timeout = 60
		}
		nat: { ice_enforce_list = "lo" }
		media: { ipv6 = false }
		plugins: { disable = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so" }
		transports: { disable = "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so" }
		loggers: { disable = "libjanus_jsonlog.so" }
		events: { broadcast = false }
	EOF
	cat >"$work/janus/janus.transport.websockets.jcfg" <<-EOF
		general: { ws = true; ws_port = 28188; ws_ip = "127.0.0.1"; wss = false }
		admin: { admin_ws = false; admin_wss = false }
	EOF
	: >"$work/janus/janus.plugin.videoroom.jcfg"
	start janus "$JANUS" -F "$work/janus" -C "$work/janus/janus.jcfg"
	answers http://127.0.0.1:28188/
	SERVERS+=(-janus ws://127.0.0.1:28188 -janus-pid "$pid")
}

start_galene() {
	mkdir -p "$work/galene/groups" "$work/galene/data" "$work/galene/static"
	cat >"$work/galene/groups/bench.json" <<-EOF
		{"auto-subgroups": true, "codecs": ["vp8", "opus"], "wildcard-user": {"password": {"type": "wildcard"}, "permissions": "present"}}
	EOF
	start galene "$GALENE" -insecure -http 127.0.0.1:28500 -turn "" -udp-range 28501 \
		-data "$work/galene/data" -groups "$work/galene/groups" -static "$work/galene/static" -recordings "$work/galene"
	answers http://127.0.0.1:28500/
	SERVERS+=(-galene ws://127.0.0.1:28500/ws -galene-pid "$pid")
}

start_livekit() {
	cat >"$work/livekit.yaml" <<-EOF
		port: 28600
		bind_addresses: ["127.0.0.1"]
		rtc: { udp_port: 28601, tcp_port: 28602, use_external_ip: false, enable_loopback_candidate: false }
		keys: { devkey: devsecretdevsecretdevsecretdevsecret }
		logging: { level: warn }
	EOF
	start livekit "$LIVEKIT" --config "$work/livekit.yaml"
	answers http://127.0.0.1:28600/
	SERVERS+=(-livekit ws://127.0.0.1:28600 -livekit-pid "$pid" -livekit-secret devsecretdevsecretdevsecretdevsecret)
}

# start_coturn: as many relay threads as it has cores, no limits, the rest as it comes.
start_coturn() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench.test \
		-keyout "$work/coturn.key" -out "$work/coturn.crt" 2>/dev/null
	cat >"$work/turnserver.conf" <<-EOF
		listening-ip=127.0.0.1
		relay-ip=127.0.0.1
		listening-port=28978
		tls-listening-port=28979
		min-port=40000
		max-port=48999
		relay-threads=1
		realm=bench.test
		use-auth-secret
		static-auth-secret=$TURN_SECRET
		allowed-peer-ip=$(first_and_last "$NETWORK")
		cert=$work/coturn.crt
		pkey=$work/coturn.key
		userdb=$work/coturn.db
		pidfile=$work/coturn.pid
		log-file=$work/coturn-own.log
		simple-log
		no-stdout-log
		no-software-attribute
		no-cli
		no-rfc5780
	EOF
	start coturn "$TURNSERVER" -c "$work/turnserver.conf"
	# shellcheck disable=SC2034 # for turn.sh
	COTURN_PID=$pid
	for _ in $(seq 100); do
		timeout 1 turnutils_stunclient -p 28978 127.0.0.1 2>/dev/null | grep -q "reflexive addr" && return
		sleep 0.1
	done
	echo "coturn does not answer" >&2
	cat "$work"/coturn*.log >&2
	return 1
}

# first_and_last addresses of an IPv4 network, as coturn wants ranges.
first_and_last() {
	python3 -c 'import ipaddress, sys; n = ipaddress.ip_network(sys.argv[1]); print(f"{n[0]}-{n[-1]}")' "$1"
}

# start_network gives the clients addresses that servers reach by the machine's
# outer interface, to which some bind their sockets. Needs root; it ends with us.
NETWORK=${NETWORK:-198.18.0.0/16}
start_network() {
	device=${ROUTE_DEVICE:-$(ip -4 route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)}
	if [ "$(id -u)" = 0 ] && [ -n "$device" ] && ip route add local "$NETWORK" dev "$device" 2>/dev/null; then
		routed=yes
	fi
	if ip route get "$NETWORK" 2>/dev/null | grep -q ^local; then
		SERVERS+=(-network "$NETWORK")
	fi
}

SERVERS=()
routed=no
start_network
found=""
if [ -x "$JANUS" ]; then found="$found janus"; fi
if [ -x "$GALENE" ]; then found="$found galene"; fi
if [ -x "$LIVEKIT" ]; then found="$found livekit"; fi
start_confab
for peer in ${PEERS-$found}; do "start_$peer"; done
