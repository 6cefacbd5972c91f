# blobd: build, run, test. "make help" lists the targets.

GO       ?= go
# What a package's tests may take, under the race detector on a machine of two cores.
TIMEOUT  ?= 15m
FUZZTIME ?= 20s
SOAK     ?= 20
COLLECTIONS ?= 100000
PKGS     := ./...
# The tests that need more than blobd does (the Azure SDKs among it) are a module of their own, with its own go.mod.
TESTS    := $(GO) -C test

.DEFAULT_GOAL := help
.PHONY: help build release run test tools unit model invariants plain damage hostile presence scrub lint docs faults test-clients fuzz bench bench-quick bench-scale bench-micro pgo soak clean collections full-disk connections usage accounts

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/blobd
	$(GO) build -o bin/blobd ./cmd/blobd

release: ## Build what is released into dist/: binaries, .deb and .rpm, checksums, bill of materials, licences. PLATFORMS bounds it
	release/build.sh

run: build ## Build and serve on 127.0.0.1:10000 (blob) and :10002 (table), data in ./blobd-data
	./bin/blobd

test: tools lint unit model damage ## Lint, and all tests under the race detector; test/e2e drives the binary with the Go and JS SDKs and azcopy

tools: ## Say what the tests need besides Go, and install what is missing where that may be done (Debian, as root)
	@test/tools.sh

lint: ## go vet, gofmt, staticcheck
	$(GO) vet $(PKGS)
	$(TESTS) vet $(PKGS)
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }
	$$($(TESTS) tool -n staticcheck) $(PKGS)
	$(TESTS) tool staticcheck $(PKGS)

unit: ## All Go tests under the race detector
	$(GO) test -race -timeout $(TIMEOUT) $(PKGS)
	$(TESTS) test -race -timeout $(TIMEOUT) $(PKGS)

model: ## 200,000 random operations on blobs against a model; the race detector would make minutes of it
	$(GO) test -run '^TestModel$$' -count 1 -timeout $(TIMEOUT) ./internal/blob

invariants: ## All tests with blobd checking itself (internal/invariants): memory of requests and readers, cache, filter, counts. unit does too, but for the binary of test/e2e
	$(GO) test -tags invariants -timeout $(TIMEOUT) $(PKGS)
	$(TESTS) test -tags invariants -timeout $(TIMEOUT) $(PKGS)
	TAGS=invariants test/clients/run.sh

plain: ## The tests of the engine, the wire, sums and tables with every part off that is there for speed alone (internal/speedup)
	$(GO) test -tags plain -timeout $(TIMEOUT) ./internal/engine/... ./internal/rest/... ./internal/md5lanes ./internal/table/... ./internal/server

damage: ## 10,000 power cuts, 5,000 random bit flips and one in every byte of a small store; the race detector would make an hour of it
	$(GO) test -run '^(TestPowerCutAtEveryFileOperation|TestBitFlips|TestABitInEveryByte)$$' -count 1 -timeout $(TIMEOUT) ./internal/engine/local

presence: ## Every file of small stores removed and cut at every block, every subset of disks after every other, starts cut off
	$(GO) test -run '^(TestMissingAndCutFiles|TestEverySequenceOfStarts|TestStartsThatAreCutOff)$$' -count 1 -v -timeout 1h ./internal/engine/local -cutstep 1 -startdepth 2

hostile: ## 10,000 restarts of small stores whose clients write what the store itself does, and forge it; 200 of them are in unit
	$(GO) test -run '^TestHostileContent$$' -count 1 -timeout 1h -v ./internal/engine/local -args -hostile 10000

scrub: ## 300 passes of a scrub over flipped bits and missing files, for each layout
	$(GO) test -run '^TestScrub' -count 1 -v -timeout 1h ./internal/engine/local -args -scrubflips 300

faults: ## An error of each kind, a shortage and a stall at every file operation of a script (make test has a slice of it)
	BLOBD_EVERY_FILE_OPERATION=1 $(GO) test -run '^(TestFailingFileOperations|TestAStallAtEveryFileOperation|TestAShortageAtEveryFileOperation)$$' -count 1 -timeout 1h ./internal/engine/local

collections: ## COLLECTIONS (default 100,000) collections beside copies, snapshots, deletes, reads and power cuts, under the race detector
	$(GO) test -race -run '^TestCollectionsBesideEverything$$' -count 1 -timeout 12h ./internal/engine/local -args -collections $(COLLECTIONS)

usage: ## 100,000 random operations on blobs and as many on tables with power cuts between: what is counted is what is there (make test has 2,000)
	$(GO) test -run '^TestUsageEqualsARecount$$' -count 1 -v -timeout 1h ./internal/blob/store ./internal/table -args -usageops 100000

full-disk: build ## Fill a small ext4 through blobd, delete, and fill it again, with kills between; needs root, for mounts
	$(TESTS) run ./fulldisk -bin $(CURDIR)/bin/blobd

connections: ## 10,000 idle, 2,000 slow and 800 lying connections at a time: memory, and service beside them and after (make test has 480)
	$(TESTS) test -run '^TestConnectionsOfEveryKind$$' -count 1 -v ./process -args -idle 10000 -slow 2000 -lying 800

test-clients: ## The clients in Python, Java and Rust, Go's built on the SDKs, az CLI, rclone, restic, OpenTofu and Azurite's folder against the real binary; what is missing is installed
	test/clients/run.sh

accounts: ## What is asked of a server with 10 000 accounts in 1000 subscriptions costs, beside one with 100 in 10; and its start
	$(GO) test -run '^$$' -bench '^BenchmarkManyAccounts$$' -timeout 30m ./internal/arm

docs: ## Generate docs/compatibility.md from the operation tables, docs/metrics.md from the definitions of the metrics
	$(GO) generate ./internal/compat ./internal/server/metricspage

fuzz: ## Run every fuzz target for FUZZTIME (default 20s)
	@set -e; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | sed 's/^func //' | sort -u); do \
			echo "$$dir $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
		done; done

bench: build ## Measure blobd beside Azurite and what the machine can do (half an hour)
	$(GO) run ./bench

bench-quick: build ## The same, one short turn each (a few minutes)
	$(GO) run ./bench --quick

bench-scale: build ## Fill in a million blobs and a million entities and watch it grow
	$(GO) run ./bench scale

# Work of every kind, as the compiler is to weigh it.
PGO_WORK := small|table|list 5 000|page|large: (put|get) 1 MiB
pgo: build ## Measure anew where blobd spends its time, for the compiler (cmd/blobd/default.pgo)
	$(GO) run ./bench --servers '^blobd$$' --workloads '$(PGO_WORK)' --clients 32 --time 3s --rounds 1 --profile --name pgo
	$(GO) tool pprof -proto bench/results/pgo-*.cpu.pprof > cmd/blobd/default.pgo

bench-micro: ## The Go benchmarks beside the hot code
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 0.5s $(PKGS)

soak: ## The randomised, crash and process tests SOAK times over (default 20), each with new seeds
	$(GO) test -race -count $(SOAK) -timeout 12h ./internal/engine/...
	$(TESTS) test -race -count $(SOAK) -timeout 12h ./process ./history ./e2e

clean: ## Remove what was built
	rm -rf bin
