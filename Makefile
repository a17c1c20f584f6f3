# make help lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
export CGO_ENABLED ?= 0
GO := go
# Tools are pinned in a module of their own, so that they stay out of the product's go.mod.
TOOL := $(GO) tool -modfile=$(CURDIR)/tools/go.mod
NFPM := $(GO) tool -modfile=$(CURDIR)/tools/nfpm.mod nfpm
FUZZTIME ?= 20s
# Of the virtual machine: 6.12 or 6.1.
KERNEL ?= 6.12

# Debian packages that the tests and the demo use on this machine.
PACKAGES := runc crun podman uidmap procps sysstat util-linux busybox-static gcc libc6-dev \
	htop python3-psutil hwloc-nox iproute2 \
	numactl libjemalloc2 liburcu-dev musl-tools $(shell command -v java >/dev/null || echo openjdk-17-jre-headless) \
	qemu-system-x86 qemu-system-common kmod cpio xz-utils e2fsprogs \
	lintian rpm rpmlint dnf shellcheck

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/lxcfs-nri and bin/lxcfs-nri-hook, static files
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: packages
packages: ## build dist/*.deb and dist/*.rpm, for amd64 and arm64
	GO='$(GO)' NFPM='$(NFPM)' packaging/build.sh '$(VERSION)'

.PHONY: demo
demo: ## show host and container side by side, on a real containerd (needs root)
	cd test && $(GO) run ./demo

.PHONY: packages-needed
packages-needed:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		echo "installing" $$missing; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

# The race detector needs cgo. The suite in test/ builds containerd first, once.
.PHONY: test
test: packages-needed ## run all tests (needs root, /dev/fuse and cgroups)
	@echo "== unit and mount tests, with the race detector"
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 15m ./...
	@echo "== counts of allocations, which hold without it"
	$(GO) test -count=1 -run Allocate ./view
	@echo "== end to end, with a containerd built from source"
	cd test && $(GO) test -p 1 -count=1 -timeout 45m $$($(GO) list ./... | grep -vE '/(vm|systemd|k8s)$$')
	@$(MAKE) --no-print-directory test-vm
	@echo "== the unit, with systemd 252, and with SELinux"
	cd test && $(GO) test -count=1 -timeout 40m ./systemd

# With -v, so that what is going on is told meanwhile.
.PHONY: test-vm
test-vm: packages-needed ## of these, those on cgroup v2 in a virtual machine; KERNEL=6.1: on an older kernel
	@echo "== on cgroup v2, in a virtual machine with kernel $(KERNEL)"
	cd test && $(GO) test -v -count=1 -timeout 40m ./vm -kernel $(KERNEL)

.PHONY: test-packages
test-packages: packages-needed ## of these, those of the packages: contents, linters, installation to removal
	cd test && $(GO) test -v -count=1 -timeout 15m ./packages

.PHONY: test-systemd
test-systemd: packages-needed ## the unit with systemd 252 and 257 as PID 1: kills, restarts, stops, the package, SELinux
	cd test && $(GO) test -v -count=1 -timeout 120m ./systemd -releases bookworm,trixie -kills 10 -restarts 5

# Kubernetes is built first, once: some minutes.
.PHONY: test-k8s
test-k8s: packages-needed ## the chart, and what it installs, on a Kubernetes node built from source
	cd test && $(GO) test -v -count=1 -timeout 90m ./k8s

.PHONY: bench
bench: packages-needed ## compare reads with Debian's lxcfs and with the kernel's own files
	cd test && $(GO) run ./bench

# Node is installed only if there is none, as OpenJDK is.
.PHONY: compat
compat: ## write docs/compatibility.md: what programs show, on cgroup v1 and v2
	@$(MAKE) --no-print-directory packages-needed PACKAGES="$(PACKAGES) $$(command -v node >/dev/null || echo nodejs)"
	cd test && $(GO) run ./compat

.PHONY: soak
soak: packages-needed ## kill, starve and mistreat the daemon at length, and write docs/reliability.md (needs root)
	cd test && $(GO) test -count=1 -timeout 20m -v ./soak -args -long -document $(CURDIR)/docs/reliability.md

.PHONY: lint
lint: ## go vet, golangci-lint, go mod tidy
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	$(TOOL) golangci-lint run ./...
	cd test && $(TOOL) golangci-lint run -c ../.golangci.yml ./...
	$(GO) mod tidy -diff
	cd test && $(GO) mod tidy -diff

.PHONY: vuln
vuln: ## govulncheck (needs its database on the network)
	$(TOOL) govulncheck ./...

.PHONY: fuzz
fuzz: ## fuzz every parser for FUZZTIME each
	@set -e; for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || :); do \
			echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; \
		done; \
	done

.PHONY: clean
clean: ## remove what was built here, and the cached containerd, Kubernetes and others
	rm -rf bin dist
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/lxcfs-nri"
