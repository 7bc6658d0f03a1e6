# Every target is listed by `make help`.

SHELL := /bin/bash
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0
DATA ?= $(or $(DAYTONA_DATA),/var/lib/daytona)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STEP := scripts/step.sh
GOBUILD := go build -trimpath
# One compilation cannot keep two processors busy: its largest packages come alone.
TOGETHER := $(MAKE) --no-print-directory -j2
LDFLAGS := -s -w -X daytona/internal/version.Version=$(VERSION)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: quickstart
quickstart: deps-run ## Build, start the server, run code in a sandbox
	@$(TOGETHER) bin/daytona bin/runsc bin/runc bin/toolbox bin/quickstart
	@bin/quickstart --data "$(DATA)"

.PHONY: stop
stop: ## Stop the server and every sandbox; the data stays
	@if [ -x bin/daytona ]; then bin/daytona down --data "$(DATA)"; else echo "nothing was built here, so nothing runs"; fi

.PHONY: build
build: deps-run ## Build our binaries into bin/
	@$(TOGETHER) bin/daytona bin/toolbox bin/quickstart

bin/daytona bin/toolbox bin/quickstart: bin/%: FORCE
	@$(STEP) "compiling $*" $(GOBUILD) -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*

.PHONY: engines
engines: deps-run ## Build the isolation engines, gVisor and runc, into bin/
	@$(TOGETHER) bin/runsc bin/runc

bin/runsc: engines/runsc/go.mod engines/runsc/go.sum
	@cd engines/runsc && ../../$(STEP) "compiling gVisor (two to three minutes the first time)" \
		$(GOBUILD) -ldflags '-s -w' -o ../../bin/runsc gvisor.dev/gvisor/runsc
	@touch $@

bin/runc: export CGO_ENABLED := 1
bin/runc: engines/runc/go.mod engines/runc/go.sum
	@cd engines/runc && ../../$(STEP) "compiling runc" \
		$(GOBUILD) -tags seccomp -ldflags '-s -w' -o ../../bin/runc github.com/opencontainers/runc
	@touch $@

.PHONY: deps-run deps-test deps-bench
deps-run deps-test deps-bench: deps-%:
	@scripts/deps.sh $*

.PHONY: test
test: deps-test engines build test-cross test-unit test-root test-e2e ## Run all tests: unit, storage, drivers as root, SDKs end to end

.PHONY: test-unit
test-unit: bin/oci-conformance bin/pebble ## Tests that need neither root nor network
	go vet ./...
	CGO_ENABLED=1 go test -race -timeout 10m ./...

.PHONY: test-cross
test-cross: ## The command line compiles for every other system; linux/arm64 without the server
	@for p in windows/amd64 windows/arm64 darwin/amd64 darwin/arm64 linux/arm64; do \
		what=./cmd/daytona; [ $$p != linux/arm64 ] || what=./cli; \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(STEP) "compiling the command line for $$p" go build -o /dev/null $$what || exit 1; done

.PHONY: test-root
test-root: ## Tests of isolation, networks, disks and drivers, as root
	go test -tags root -p 1 -timeout 20m $$(grep -rl --include=*_test.go '^//go:build root' . | grep -v ^./e2e/ | xargs -n1 dirname | sort -u)

.PHONY: test-e2e
test-e2e: ## The published SDKs against a real server, as root
	go test -tags root -p 1 -timeout 60m ./e2e/...

.PHONY: bench
bench: deps-bench engines build ## Measure, beside Docker in the same run
	@$(GOBUILD) -o bin/bench ./cmd/bench
	@bin/bench $(BENCH)
	@$(MAKE) --no-print-directory bench-api

.PHONY: bench-api
bench-api: ## Measure the control plane alone with 10,000 sandboxes: requests a second, the reconciler
	@go test ./controlplane/httpapi ./controlplane/sandbox -run '^$$' -bench '10000' -benchtime 2s

.PHONY: chaos
chaos: deps-test engines build ## Break everything for twenty minutes, and see that nothing is lost
	@$(GOBUILD) -o bin/chaos ./cmd/chaos
	@if [[ " $(CHAOS) " == *" --clock "* ]]; then $(STEP) "compiling the server with a clock that jumps" scripts/clock.sh bin/daytona-clock; fi
	@bin/chaos $(CHAOS)

.PHONY: lint
lint: bin/golangci-lint ## Check the code against a short list of linters
	bin/golangci-lint run ./...

bin/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	@cd tools/lint && ../../$(STEP) "compiling golangci-lint" \
		$(GOBUILD) -ldflags '-s -w' -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

bin/oci-conformance: tools/ociconformance/go.mod tools/ociconformance/go.sum
	@cd tools/ociconformance && ../../$(STEP) "compiling the conformance suite for registries" \
		$(GOBUILD) -ldflags '-s -w' -o ../../bin/oci-conformance github.com/opencontainers/distribution-spec/conformance
	@touch $@

bin/pebble: tools/pebble/go.mod tools/pebble/go.sum
	@cd tools/pebble && ../../$(STEP) "compiling Pebble, the ACME authority for tests" \
		$(GOBUILD) -ldflags '-s -w' -o ../../bin/pebble github.com/letsencrypt/pebble/v2/cmd/pebble
	@touch $@

.PHONY: verify
verify: ## Prove that generated files are fresh
	go test ./controlplane/httpapi -run OpenAPI

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin .cache

.PHONY: FORCE
FORCE:
