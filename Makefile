# What needs more than cargo: the programs for the tests on a real cluster, the demo, the checks.

# One Go module under tests/tools each, in the order in which they are needed.
TOOLS := etcd kubernetes registry conformance source-controller kustomize-controller helm-controller helm

CHART := charts/ocm-controller

# Stops with one line where a program is missing: $(call need,PROGRAM,what to do).
need = @command -v $(1) >/dev/null 2>&1 || { echo "$(1) is missing: $(2)" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help test demo bench crash check generate binary buildah tools needed $(TOOLS:%=tool-%)

help: ## Say what can be made.
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

# What fails fast comes first; what cargo test prints comes last.
test: check tools binary buildah ## Check and test everything, on a real cluster too (first time about 30 minutes).
	@cargo test --locked -- --include-ignored

demo: needed tools ## Walk through the guide on a cluster of its own (KEEP=1 leaves it running).
	@cargo build --locked --quiet --bins --example demo
	@cargo run --locked --quiet --example demo -- $(if $(KEEP),--keep)

bench: needed tools ## Measure chains, throughput and growth (ONLY=chains N=200; ONLY=large is 6 GiB).
	@cargo bench --locked --quiet --bench measure -- $(ONLY)

crash: needed ## Kill a process that uses the content store at every call and at 1,000 random moments (10 minutes).
	$(call need,strace,install your system's package strace)
	@cargo test --locked --quiet --test crash -- by-hand

check: needed ## Check formatting, lints and documentation.
	@cargo fmt --check
	@cargo clippy --all-targets --locked -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

generate: needed tool-kubernetes ## Write anew what is made from other files: CRDs, the chart's rights and table of values, install.yaml.
	@cargo run --locked --quiet --bin ocm-controller -- crds > crds/delivery.ocm.software.yaml.new
	@mv crds/delivery.ocm.software.yaml.new crds/delivery.ocm.software.yaml
	@cp crds/delivery.ocm.software.yaml $(CHART)/crds/
	@sed '1,/^rules:/d' config/rbac/role.yaml > $(CHART)/files/rights.yaml
	@target/tools/bin/kubectl kustomize config/default > config/install.yaml.new
	@mv config/install.yaml.new config/install.yaml
	@WRITE_VALUES=1 cargo test --locked --quiet --test offline values::table_of_values

# The same source makes the same bytes, wherever it lies.
binary: needed ## Build the static binary of the image: target/image/ocm-controller.
	@host=$$(rustc -vV | sed -n 's/^host: //p') && \
	SOURCE_DATE_EPOCH=0 \
	RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$(CURDIR)=/src --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo" \
	cargo build --release --locked --quiet --bin ocm-controller --target $$host && \
	mkdir -p target/image && cp target/$$host/release/ocm-controller target/image/

# The test of the image builds one, which is for root alone.
buildah:
	@command -v buildah >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -y -qq buildah >/dev/null; } || { \
		echo "buildah is missing: install your system's package buildah" >&2; exit 1; }

tools: needed $(TOOLS:%=tool-%) ## Build what the cluster tests run, into a cache, and link it into target/tools.

$(TOOLS:%=tool-%): tool-%: | needed
	@tests/tools/build.sh $*

needed:
	$(call need,cargo,install Rust 1.95 or newer from https://rustup.rs)
	$(call need,cargo-clippy,run rustup component add clippy)
	$(call need,cargo-fmt,run rustup component add rustfmt)
	$(call need,cc,install a C compiler$(comma) such as your system's package gcc)
	$(call need,go,install Go 1.26 or newer from https://go.dev/dl)
	$(call need,git,install your system's package git)

comma := ,
