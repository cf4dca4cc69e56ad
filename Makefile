# make help lists the targets.

# How long the soak tests run: make soak DURATION=1h
DURATION ?= 10m
# How many seeds the simulation runs, and from which on: make simulate FROM=17 SEEDS=1
SEEDS ?= 200
FROM ?= 1
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
simulate: ## Instances in virtual time, with faults that SEEDS seeds FROM one on choose
	@MILLRACE_SIM_SEEDS=$(SEEDS) MILLRACE_SIM_FROM=$(FROM) integration/stages.sh simulate

.PHONY: nocgo
nocgo: ## Build without cgo, and test what differs then
	@integration/stages.sh nocgo

.PHONY: integration
integration: setup ## Tests against a real Kafka, which is started and stopped
	@integration/stages.sh integration

.PHONY: soak
soak: setup ## Long tests against a real Kafka, for DURATION
	MILLRACE_SOAK=$(DURATION) go test -tags 'integration soak' -run '^TestSoak' -count 1 -timeout 0 -v ./integration/...

.PHONY: bench
bench: setup ## Compare with Kafka Streams and with floors, and write docs/benchmarks.md
	$(COMPARE)

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
