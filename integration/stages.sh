#!/usr/bin/env bash
# Runs the stages of the tests that its arguments name, all by default, each
# even if one before it failed; then prints the seconds of each and one line
# that counts them, and exits 1 if any failed.
#
#   integration/stages.sh [lint] [unit] [race] [simulate] [oracle] [nocgo] [integration] [tiers] [chaos]
#
# MILLRACE_SIM_SEEDS and MILLRACE_SIM_FROM choose the seeds of the simulation;
# MILLRACE_SIM_RECORD names the CSV file that notes what ran, if any.
# MILLRACE_CHAOS_SEED, _FAULTS and _GUARANTEE choose what the chaos run does, and
# MILLRACE_CHAOS_TIMEOUT how long it may take.
# MILLRACE_TEST_KAFKA names a running Kafka; without it the stages integration
# and tiers each start one and stop it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly all=(lint unit race simulate oracle nocgo integration tiers chaos)
readonly staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Each check runs, so that one run shows all that is wrong.
stage_lint() {
	local status=0
	go vet ./... || status=1
	go vet -tags integration,mutants,soak ./... || status=1
	go run "$staticcheck" -tags integration,invariants,mutants,soak ./... || status=1
	go test -timeout 10m ./internal/lint || status=1
	return $status
}

stage_unit() {
	go test -timeout 10m ./...
}

# The lint tests do not change under the race detector.
stage_race() {
	local packages
	packages=$(go list ./... | grep -v '/internal/lint$') || return 1
	# shellcheck disable=SC2086 # one argument a package
	go test -race -tags invariants -timeout 20m $packages
}

# In the package's folder, go test shows the figures as they come.
stage_simulate() {
	local seeds=${MILLRACE_SIM_SEEDS:-200}
	(cd streams && MILLRACE_SIM_SEEDS=$seeds MILLRACE_SIM_COMMIT=$(revision) \
		go test -run '^Test(Simulation|SimulationExactlyOnce|TheSimulationCatches.*)$' -count 1 -timeout $((10 + seeds / 20))m)
}

# The commit that runs, with a plus if files differ from it.
revision() {
	local commit
	commit=$(git rev-parse --short=10 HEAD 2>/dev/null) || commit=unknown
	git diff --quiet HEAD -- :/ ':(top,exclude)docs' 2>/dev/null || commit+=+
	echo "$commit"
}

# A thousand seeds, and mutants that they must catch.
stage_oracle() {
	(cd internal/oracle && MILLRACE_ORACLE_SEEDS=1000 go test -tags mutants -count 1 -timeout 10m -v \
		-run '^Test(Oracle|TheSeedsOfCICatchMutants)$')
}

# Pebble keeps its memory outside of Go's heap with cgo and inside without.
stage_nocgo() {
	CGO_ENABLED=0 go build ./... &&
		CGO_ENABLED=0 go test -timeout 5m ./stores/... ./changelog/...
}

kafka_dir=

stop_kafka() {
	if [[ -n $kafka_dir ]]; then
		go run ./integration/servers/cmd/kafka stop -dir "$kafka_dir"
		rm -rf "$kafka_dir"
		kafka_dir=
	fi
}
trap stop_kafka EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# on_kafka tests packages on a running Kafka.
on_kafka() {
	local status=0 named
	if [[ -n ${MILLRACE_TEST_KAFKA:-} ]]; then
		go test -tags integration -p 1 -count 1 -timeout 15m "$@"
		return
	fi
	kafka_dir=$(mktemp -d) || return 1
	named=$(go run ./integration/servers/cmd/kafka start -dir "$kafka_dir") || return 1
	env "$named" go test -tags integration -p 1 -count 1 -timeout 15m "$@" || status=1
	stop_kafka || status=1
	return $status
}

# The tiers are a stage of their own, for their servers, and so is the chaos run,
# which breaks the brokers that it starts.
stage_integration() {
	local packages
	packages=$(go list -tags integration ./integration/... | grep -Ev '/integration/(chaos|tiers/.*)$') || return 1
	# shellcheck disable=SC2086 # one argument a package
	on_kafka $packages
}

# PostgreSQL, Redis and an S3 gateway: the tests start and stop them.
stage_tiers() {
	on_kafka ./integration/tiers/...
}

# In the package's folder, go test shows the faults as they come.
stage_chaos() {
	(cd integration/chaos && go test -tags integration -run '^TestChaos$' -count 1 -timeout "${MILLRACE_CHAOS_TIMEOUT:-8m}" -v)
}

stages=("$@")
((${#stages[@]})) || stages=("${all[@]}")
for stage in "${stages[@]}"; do
	if ! declare -F "stage_$stage" >/dev/null; then
		echo "stages: there is no stage $stage; there are ${all[*]}" >&2
		exit 2
	fi
done

logs=$(mktemp -d)
trap 'stop_kafka; rm -rf "$logs"' EXIT
passed=() failed=() table=()
for stage in "${stages[@]}"; do
	echo "== $stage"
	began=$SECONDS
	# Not in a pipe: the stage must run in this shell for the trap to see what
	# it has started.
	"stage_$stage" > >(tee "$logs/$stage") 2>&1
	status=$?
	wait $!
	if ((status == 0)); then
		passed+=("$stage")
		word=passed
	else
		failed+=("$stage")
		word=FAILED
	fi
	table+=("$(printf '%-12s %4d s  %s' "$stage" $((SECONDS - began)) $word)")
done

echo
for stage in ${failed[@]+"${failed[@]}"}; do
	echo "== what failed in $stage"
	grep -E '^ *--- FAIL|^FAIL|^panic:|^vet: |^ *[^ ]+\.go:[0-9]+|DATA RACE' "$logs/$stage" | head -n 40
done
printf '%s\n' "${table[@]}"
echo "stages: ${#passed[@]} passed, ${#failed[@]} failed"
((${#failed[@]} == 0))
