# Every check has a name; `.ci/run` makes them all, a person the one at hand: `make clippy`. Plain make, because every
# Debian and Ubuntu has it as a package.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.PHONY: all packages test fmt clippy core docs bench deny objects fuzz-short fuzz crash examples programs

# Where examples and programs leave what they make.
OUT ?= target/outputs

all: packages test fmt clippy core docs bench deny objects fuzz-short examples programs

# What apt has to install, where it is missing.
packages:
	sh .ci/packages

# The README's command, taken from the README.
test:
	command=$$(sed -n '/<!-- test command -->/,/^```$$/p' README.md | sed -n '/^```sh$$/,/^```$$/p' | sed '1d;$$d')
	[ -n "$$command" ] || { echo "README.md has no test command" >&2; exit 1; }
	echo "+ $$command"
	bash -euo pipefail -c "$$command"

fmt:
	cargo fmt --check

# With all features, without any, and the library as users have it: the tests' own dependency on it asks for more features.
clippy:
	cargo clippy --release --all-targets --features cli,object-store -- -D warnings
	cargo clippy --release --no-default-features --all-targets -- -D warnings
	for features in "" "--no-default-features" "--no-default-features --features gdal" "--no-default-features --features zarr"; do
	    cargo clippy --release --lib $$features -- -D warnings
	done

# The core by itself, without GDAL and Zarr.
core:
	cargo test --release --no-default-features --lib --test golden --test truth --test api --test builders

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --all-features

# That benchmarks run, not what they measure.
bench:
	cargo bench -- --test

# Licences, duplicate versions, advisories. Without cargo-deny (`cargo install --locked cargo-deny`) the licences alone.
deny:
	if command -v cargo-deny >/dev/null; then
	    cargo deny --all-features check
	else
	    echo "cargo-deny is not installed: no advisories; licences and duplicate versions by tests/licences.rs"
	    cargo test --release --test licences
	fi

# Stores in S3, against a server on this machine that fails as servers do.
objects:
	.ci/objects

# What parses bytes of others, for some seconds each: the seeds of fuzz/corpus and random changes of them.
fuzz-short:
	RASTERFUSE_FUZZ_SECONDS=$${RASTERFUSE_FUZZ_SECONDS:-7} cargo test --release --test fuzz -- --nocapture

# The same guided by coverage, until it is stopped or finds something: `make fuzz TARGET=toml`. Needs `cargo install cargo-fuzz`.
TARGET ?= toml
fuzz:
	RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $(TARGET)

# Kills so many runs at random moments and compares the bytes in the end: `make crash N=1000` takes about six minutes.
N ?= 100
crash:
	RASTERFUSE_CRASHES=$(N) cargo test --release --features cli --test crash long -- --ignored --nocapture

# Every example.
examples: | $(OUT)
	for example in landsat_modis hyperspectral near_real_time arrays; do
	    cargo run --release --example "$$example" -- --out "$(OUT)/$$example.png"
	done
	cargo run --release --example choosing -- --out "$(OUT)"
	cargo run --release --example quickstart -- --out "$(OUT)/quickstart.png" --keep "$(OUT)/demo"

# The program on what the examples leave; the readers of stores (xarray, rioxarray, GDAL) open what it writes. After `examples`.
programs: | $(OUT)
	cargo build --release --bin rasterfuse --features cli
	rasterfuse=$$(realpath "$${CARGO_TARGET_DIR:-target}/release/rasterfuse")
	# The tour of real data, as its page has it.
	rm -rf "$(OUT)/tour"
	mkdir -p "$(OUT)/tour"
	tour=$$(sed -n '/^```sh$$/,/^```$$/p' docs/tour.md | sed '/^```/d' | sed "s#~/rasterfuse#$$PWD#")
	(cd "$(OUT)/tour" && PATH="$$(dirname "$$rasterfuse"):$$PATH" bash -euxo pipefail -c "$$tour")
	$$rasterfuse validate "$(OUT)/demo/fuse.toml"
	$$rasterfuse seasonal "$(OUT)/demo/fuse.toml" -o "$(OUT)/seasonal.zarr"
	.ci/interop "$(OUT)"
	$$rasterfuse basis "$(OUT)/twin-v3/fuse.toml" --instrument emit -o "$(OUT)/basis"

$(OUT):
	mkdir -p $@
