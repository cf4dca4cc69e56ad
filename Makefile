# make help lists the targets.

# How long the soak tests run: make soak DURATION=1h
DURATION ?= 10m
# How many seeds the simulation and the oracle run, and from which on, by default
# behind the last that docs/simulation.csv and docs/oracle.csv have:
# make simulate FROM=17 SEEDS=1
SEEDS ?= 200
FROM ?=
# What the chaos run draws its faults from, how many must be seen, and under which
# guarantee: make chaos SEED=7 FAULTS=30 GUARANTEE=at-least-once
SEED ?= 1
FAULTS ?= 15
GUARANTEE ?= exactly-once
# Which benchmarks run: make microbench BENCH=Tumbling
BENCH ?= .
# Events and rounds of the comparison: make bench EVENTS=1000000 ROUNDS=1
EVENTS ?= 10000000
ROUNDS ?= 3

KAFKA := go run ./integration/servers/cmd/kafka
COMPARE = go run ./integration/bench/cmd/bench compare -events $(EVENTS) -rounds $(ROUNDS)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## Build the command into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/millrace

.PHONY: test
test: setup ## Set up and run all tests, with the seconds of each stage
	@integration/stages.sh

.PHONY: setup
setup: ## Install what the tests need beside Go, if it is missing
	@integration/setup.sh

.PHONY: lint
lint: ## Vet, staticcheck and the rules of internal/lint
	@integration/stages.sh lint

.PHONY: unit
unit: ## All tests that need nothing but Go
	@integration/stages.sh unit

.PHONY: race
race: ## The same under the race detector, with invariants on
	@integration/stages.sh race

.PHONY: simulate
simulate: ## Instances in virtual time, with faults that SEEDS seeds FROM one on choose; goes on
	@MILLRACE_SIM_SEEDS=$(SEEDS) MILLRACE_SIM_FROM=$(FROM) MILLRACE_SIM_RECORD=$(CURDIR)/docs/simulation.csv integration/stages.sh simulate

.PHONY: oracle
oracle: ## Random runs against a brute-force model, SEEDS of them, into docs/oracle.csv
	@MILLRACE_ORACLE_SEEDS=$(SEEDS) MILLRACE_ORACLE_FROM=$(FROM) MILLRACE_ORACLE_FILE=$(CURDIR)/docs/oracle.csv \
		go test -run '^TestOracle$$' -count 1 -timeout 0 ./internal/oracle

.PHONY: figures
figures: ## Draw the pictures of the docs, from runs and from what benchmarks have kept
	go run ./internal/figures

.PHONY: nocgo
nocgo: ## Build without cgo, and test what differs then
	@integration/stages.sh nocgo

.PHONY: integration
integration: setup ## Tests against a real Kafka, which is started and stopped
	@integration/stages.sh integration

.PHONY: tiers
tiers: setup ## Tests of state in PostgreSQL, Redis and S3, which are started and stopped
	@integration/stages.sh tiers

.PHONY: chaos
chaos: setup ## Processes, brokers and networks break, as SEED draws, until FAULTS were seen
	@MILLRACE_CHAOS_SEED=$(SEED) MILLRACE_CHAOS_FAULTS=$(FAULTS) MILLRACE_CHAOS_GUARANTEE=$(GUARANTEE) \
		MILLRACE_CHAOS_TIMEOUT=0 integration/stages.sh chaos

.PHONY: soak
soak: setup ## Long tests against a real Kafka, for DURATION; 100 faults at least
	MILLRACE_SOAK=$(DURATION) go test -tags 'integration soak' -p 1 -run '^TestSoak' -count 1 -timeout 0 -v ./integration/...

.PHONY: bench
bench: setup ## Compare with Kafka Streams and with floors, and write docs/benchmarks.md
	$(COMPARE)

.PHONY: shuffle
shuffle: setup ## Count what Millrace and Kafka Streams drop behind a repartition
	go run ./integration/shuffle/cmd/shuffle

.PHONY: emission
emission: setup ## Measure how long results take behind the event that completes their window
	go run ./integration/emission/cmd/emission

.PHONY: latency
latency: setup ## Compare with Kafka Streams how long results take under a live load: ROUNDS
	go run ./integration/bench/cmd/bench latency -rounds $(ROUNDS)

.PHONY: cost
cost: setup ## What exactly once costs against at least once: EVENTS, ROUNDS
	go run ./integration/bench/cmd/bench cost -events $(EVENTS) -rounds $(ROUNDS)

.PHONY: failover
failover: setup ## How long partitions stand still: failover, scale-out, rolling restart
	cd integration/chaos && go test -tags 'integration soak' -run '^TestFigures' -count 1 -timeout 15m -v

.PHONY: grow
grow: setup ## What an event costs over ever more keys and partitions
	go run ./integration/bench/cmd/bench grow

.PHONY: hold
hold: setup ## Resident memory while the state outgrows its budget
	go run ./integration/bench/cmd/bench hold

.PHONY: microbench
microbench: ## Benchmarks that need nothing but Go; BENCH picks some
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: kafka-start
kafka-start: ## Start a Kafka that stays, and print how tests find it
	@$(KAFKA) start

.PHONY: kafka-stop
kafka-stop: ## Stop it
	@$(KAFKA) stop

.PHONY: fmt
fmt: ## Format all Go files
	gofmt -w $$(go list -f '{{.Dir}}' ./...)
