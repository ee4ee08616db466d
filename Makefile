# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/maildomain-operator
BIN   := $(CACHE)/bin

# KUBEBUILDER_ASSETS set by hand names other control plane binaries; then none are built.
ifdef KUBEBUILDER_ASSETS
APISERVER := true
else
APISERVER := hack/apiserver.sh
export KUBEBUILDER_ASSETS := $(BIN)
endif

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
IMAGE   ?= ghcr.io/maildomain-operator
LDFLAGS := -s -w -X main.version=$(VERSION)
GOTEST  := go test
# -p 2: API server tests start two processes each; more at once make a small machine swap, not finish sooner.
TESTFLAGS ?= -p 2 -timeout 15m
# Runs that are too long for the race detector: with it (-short) they take a sample, without it they are whole.
LARGEST := AnyTransition|ManyDomains|TwoThousand|ThousandsOf|RealControllers|AMillion

##@ Develop

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build apiserver ## Watch a domain go from nothing to signed mail on this machine (no root, no account; KEEP=1 to play)
	@CGO_ENABLED=0 go run -trimpath ./test/demo # compiled as the build above, so that little is compiled twice

.PHONY: build
build: ## Build bin/manager and bin/milter
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: build-openssl
build-openssl: ## Build bin/openssl/milter, which signs RSA with libcrypto (a C compiler; no headers of OpenSSL)
	@mkdir -p bin/openssl
	CGO_ENABLED=1 go build -tags openssl -trimpath -ldflags '$(LDFLAGS)' -o bin/openssl/ ./cmd/milter

.PHONY: generate
generate: tools-generate ## Write deep copies, CRDs, RBAC and the chart's copies of them
	@hack/generate.sh

##@ Prove

.PHONY: test
test: apiserver kubectl tools-manifests ## Every test that needs neither root nor Debian packages, API server included
	$(GOTEST) -race -short $(TESTFLAGS) ./...
	$(GOTEST) -run '$(LARGEST)' $(TESTFLAGS) ./test/operator ./test/crash ./test/simulation ./internal/milter ./cmd/milter ./internal/dmarcreport

.PHONY: test-openssl
test-openssl: ## The milter's tests once more, with the build that signs by OpenSSL (a C compiler and libcrypto.so.3)
	CGO_ENABLED=1 $(GOTEST) -race -short -tags openssl $(TESTFLAGS) ./internal/rsasign/... ./internal/dkim/... ./internal/mailauth/... ./internal/milter/... ./cmd/milter/...

.PHONY: test-integration
test-integration: build apiserver ## Stories and the providers' suite against real name servers, Postfix and verifiers that are not ours (Debian, root; installs what is missing)
	hack/install-debian-packages.sh
	hack/sendmail.sh
	$(GOTEST) -tags integration $(TESTFLAGS) -v -count=1 ./test/e2e/... ./test/mta/... ./test/judge/... ./test/conformance/... ./internal/dnsprovider/... ./test/monitoring/...

.PHONY: simulate
simulate: ## A thousand domains rotate their keys for three years, and fifty for one by the real controllers; every message is checked where it arrives
	$(GOTEST) -count=1 -v ./test/simulation -run TestNoMessageIsLost -domains 1000 -years 3
	$(GOTEST) -count=1 -v -timeout 1h ./test/simulation -run TestTheRealControllers -domains 50 -days 365

.PHONY: test-rotation
test-rotation: build apiserver ## Ten rotations and a revocation while mail flows; the last lines are the counts (Debian, root)
	hack/install-debian-packages.sh
	$(GOTEST) -tags integration -c -o bin/test-rotation ./test/rotation
	@cd test/rotation && $(CURDIR)/bin/test-rotation -test.v -test.timeout 8m

.PHONY: lint
lint: tools-lint ## Lint the Go sources and the shell scripts
	$(BIN)/golangci-lint run
	CGO_ENABLED=1 $(BIN)/golangci-lint run --build-tags openssl ./internal/rsasign/...
	@if command -v shellcheck >/dev/null; then shellcheck -x hack/*.sh .ci/run; \
	else echo "shellcheck is not installed: scripts not checked (apt-get install shellcheck)"; fi

.PHONY: lint-proof
lint-proof: tools-lint ## Plant a violation of each rule of ours and expect lint to report it
	hack/lint-proof.sh

.PHONY: check-generate
check-generate: tools-generate ## Fail if generated files are not what `make generate` writes
	@hack/check-generate.sh

.PHONY: bench
bench: ## Run every Go benchmark and print a table and key=value lines
	@hack/bench.sh

.PHONY: bench-milter
bench-milter: build build-openssl ## Both builds of the milter against OpenDKIM under one load (Debian; BENCHFLAGS="-quick", -help: more)
	@hack/install-debian-packages.sh opendkim openssl
	go run ./test/bench $(BENCHFLAGS)

.PHONY: bench-dns
bench-dns: ## Count the calls that 500 domains cost at Route 53, Cloudflare and by updates, beside libdns used directly
	@BENCH_DNS=1 $(GOTEST) -run '^TestCallsThatDomainsCost$$' -count=1 -v ./internal/dnsprovider | grep -vE '^(===|---|PASS|ok )'

##@ Ship

.PHONY: image
image: ## Build the images of the manager and of both milters (docker, podman or buildah)
	@VERSION=$(VERSION) IMAGE=$(IMAGE) hack/image.sh

##@ Parts

.PHONY: apiserver
apiserver: ## Have kube-apiserver, etcd, kube-controller-manager and kubectl in the cache
	@$(APISERVER)

.PHONY: kubectl
kubectl: ## Have kubectl in the cache
	@$(APISERVER) kubectl

.PHONY: tools tools-lint tools-generate tools-manifests
tools: ## Have the pinned tools in the cache
	@hack/tools.sh
tools-lint:
	@hack/tools.sh golangci-lint
tools-generate:
	@hack/tools.sh controller-gen
tools-manifests:
	@hack/tools.sh kustomize helm

.PHONY: clean
clean: ## Remove what was built here; the cache outside the repository stays
	rm -rf bin dist
