# The commands people type. Each installs what it needs (Debian 12 or 13, as root or with sudo) and can be repeated.

TARGET  := x86_64-unknown-linux-gnu
DEBUG   := $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/debug/ironhatch
RELEASE := $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/release/ironhatch
# One job at a time: the suites measure time and the lab's machines need the cores.
MAKEFLAGS += --no-print-directory
# Cargo stays the user's; only what makes containers, mounts and network namespaces runs as root, with the settings (CARGO_TARGET_DIR, SEED) of
# who called it.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env)

# Seconds that each fuzz target runs.
FUZZ_SECONDS := 60

.PHONY: help run test unit integration fuzz fuzz-build fuzz-test lab lab-test provision bench shipped-build peer-build rest-build faults faults-test trials check release packages-build packages-test packages-lab packages-provision packages-bench packages-faults packages-release

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: packages-build ## Build and start the appliance with its state in ./.ironhatch (dashboard on port 8080)
	cargo build --locked
	@mkdir -p .ironhatch
	@[ -e .ironhatch/ironhatch.toml ] || cp systemd/ironhatch.dev.toml .ironhatch/ironhatch.toml
	$(DEBUG) --config .ironhatch/ironhatch.toml serve

test: packages-build packages-test packages-lab packages-provision check unit fuzz-test integration faults-test provision lab-test ## Run every suite, the virtual bare-metal lab included

unit: packages-build ## Tables, properties, decoders: seconds
	@.ci/suite unit cargo test --locked --lib
	@.ci/suite architecture cargo test --locked --test architecture
	@.ci/suite lab-installer cargo test --locked --example lab-installer

integration: packages-build packages-test ## The daemon against OpenSSH, xorriso, Chromium, kill -9
	@.ci/suite integration cargo test --locked --test it

fuzz: fuzz-build ## Fuzz what reads hostile bytes, each target for FUZZ_SECONDS (60)
	@.ci/suite fuzz tests/fuzz/run.sh $(FUZZ_SECONDS)

fuzz-test: fuzz-build
	@FUZZ_SEED=1 .ci/suite fuzz tests/fuzz/run.sh 3

fuzz-build: packages-build
	tests/fuzz/run.sh build

provision: packages-build packages-provision ## Install the built-in apps and the Debian package in Debian containers (as root)
	@$(if $(AS_ROOT),CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(AS_ROOT)") .ci/suite provision cargo test --locked --test provision

# What is measured and broken is what ships, and one build is for both: so it is one list of packages.
SHIPPED := --package ironhatch --package ironhatch-bench --package ironhatch-bench-store --package ironhatch-faults

bench: packages-bench shipped-build peer-build ## Measure Ironhatch beside its peers, write docs/benchmarks.md; ONLY=tftp runs one part
	$(AS_ROOT) $(dir $(RELEASE))bench $(ONLY)

shipped-build: packages-build
	cargo build --locked --release $(SHIPPED)

peer-build: packages-build
	cargo build --locked --profile peer --package ironhatch-bench-peer

rest-build:
	@nice -n 19 $(MAKE) fuzz-build peer-build

faults-test: packages-build packages-faults
	cargo build --locked --package ironhatch --package ironhatch-faults
	@.ci/suite faults $(AS_ROOT) env --unset=SEED --unset=SCENARIO FAULT_SEED=1 FAULT_RUNS=24 FAULT_SCENARIOS='damage restore' $(dir $(DEBUG))faults

faults: packages-faults shipped-build ## Break 1,000 rebuilds in every way (as root; SEED=0x… replays, FAULT_RUNS=n; docs/faults.md)
	@.ci/suite faults $(AS_ROOT) $(dir $(RELEASE))faults

trials: packages-build packages-bench packages-faults ## faults, bench and fuzz after each other: half an hour on two cores
	@# Compiling and linking what ships takes one processor for minutes: the rest is built beside it, and waits for it.
	@$(MAKE) --jobs=2 shipped-build rest-build
	@$(MAKE) faults
	@$(MAKE) bench
	@$(MAKE) fuzz

lab: packages-build packages-lab ## Watch two machines being born on a virtual LAN; leaves the dashboard running
	cargo build --locked
	tests/lab/run.sh --keep

lab-test: packages-build packages-lab
	cargo build --locked
	@.ci/suite lab tests/lab/run.sh

check: packages-build ## Formatting, lints, shell scripts
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	@command -v shellcheck >/dev/null || .ci/packages test
	shellcheck .ci/run .ci/packages .ci/suite .ci/deb .ci/sbom install.sh systemd/debian/post* systemd/debian/prerm tests/fuzz/*.sh ipxe/*.sh firstboot/*.sh tests/golden/firstboot/*.sh
	shellcheck -s sh src/plan/join/script/*.sh src/plan/enroll/script/*.sh
	shellcheck -x -P . tests/provision/*.sh apps/lib.sh apps/*/provision/*.sh
	shellcheck -S warning -e SC2034,SC2054 -x -P tests/lab tests/lab/*.sh tests/lab/pvecm tests/lab/pct

release: packages-build packages-release ## Build the static binary and the Debian package, with checksums and bill of materials
	cargo build --locked --release
	@file $(RELEASE) | grep -q 'static-pie linked' || { echo 'release: not static-pie linked' >&2; exit 1; }
	@! readelf -d $(RELEASE) | grep -q NEEDED || { echo 'release: needs shared libraries' >&2; exit 1; }
	@ldd $(RELEASE) 2>&1 | sed 's/^[[:space:]]*/ldd says: /'
	@.ci/sbom >$(RELEASE).cdx.json
	@.ci/deb $(RELEASE) $(dir $(RELEASE)) "" $(RELEASE).cdx.json
	@cd $(dir $(RELEASE)) && sha256sum ironhatch ironhatch.cdx.json ironhatch_*_amd64.deb | tee SHA256SUMS
	@ls -l $(RELEASE) | awk '{ printf "release: %.1f MiB\n", $$5 / 1048576 }'

packages-build:
	@.ci/packages build
packages-test:
	@.ci/packages test
packages-release:
	@.ci/packages release
packages-bench:
	@.ci/packages bench
packages-faults:
	@.ci/packages faults
packages-provision:
	@.ci/packages provision
packages-lab:
	@tests/lab/install.sh
