# make        build bin/confab
# make run    build and start; DATA=DIR keeps the data elsewhere than in ./var, ARGS="--https :8443 …"
# make test   everything CI runs
#
# make check, unit, race, e2e are its parts; make fuzz and make bench run longer.

DATA     ?= ./var
ARGS     ?=
FUZZTIME ?= 20s
BENCH    ?= .
PKG      ?= ./...
LIMIT    ?= 30m

export CGO_ENABLED ?= 0

.PHONY: build run test check unit race e2e fuzz bench measure networks go page test-deps clean
.DEFAULT_GOAL := build
.NOTPARALLEL: # the parts of make test, in their order

build: go page
	go build -o bin/confab ./cmd/confab

run: build
	exec bin/confab serve --data $(DATA) $(ARGS)

# The cheap parts come first. The e2e tests come last: their closing is the closing of the run.
test: test-deps check unit race e2e

check: go page
	@unformatted=$$(git ls-files -z '*.go' | xargs -0 -r gofmt -l) && if [ -n "$$unformatted" ]; then \
		echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	go vet ./...

# On both databases; what measures allocations runs only here, the race detector allocates itself.
# What other systems than Linux get in place of the packet paths of Linux runs by its build tag.
unit: go page
	test/postgres.sh go test -timeout $(LIMIT) $(PKG)
	go test -tags portable ./internal/datagram ./extdisco/relay

race: go page
	CGO_ENABLED=1 test/postgres.sh go test -race -timeout $(LIMIT) $(PKG)

e2e: build test/e2e/node_modules/.package-lock.json
	cd test/e2e && npm test --silent

test/e2e/node_modules/.package-lock.json: test/e2e/package-lock.json
	cd test/e2e && npm ci --no-audit --no-fund --loglevel=error
	touch $@

# Each fuzz target for FUZZTIME; without the limit the time goes into making the first large inputs that it likes smaller.
fuzz: go page
	@set -e; for package in $$(go list $(PKG)); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package; \
		done; \
	done

bench: go page
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

# Figures of whole meetings in real browsers.
measure: build test-deps test/e2e/node_modules/.package-lock.json
	cd test/e2e && npm run measure --silent

# What a browser gets over poor networks, docs/networks.md. Needs root.
networks: build test-deps test/e2e/node_modules/.package-lock.json
	go build -o test/net/.cache/ ./test/net/emulate ./test/net/sender
	cd test/net && node run.mjs $(SCENARIOS)

# The client library of our own meeting page, which the program embeds.
page:
	@[ -f web/page/lib/lib-jitsi-meet.min.js ] || test/deps.sh nodejs npm
	@web/page/fetch-lib.sh

test-deps: go
	@test/deps.sh nodejs npm postgresql chromium coturn iproute2 python3-slixmpp gcc libc6-dev

# The version that go.mod names, or a later one, or one that can fetch it.
go:
	@command -v go >/dev/null || { echo "Go is missing: $$(sed -n 's/^go /install version /p' go.mod) or later from https://go.dev/dl/"; exit 1; }

clean:
	rm -rf bin
