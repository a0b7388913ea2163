# `just` lists these. The one command that is the CI: `just test`.

set shell := ["bash", "-euo", "pipefail", "-c"]

_list:
    @just --list --unsorted

# Three homes on this machine, ready to chat, until Ctrl-C.
up *ARGS:
    cargo build --quiet --release --bin homing --bin homing-testnet
    target/release/homing-testnet up {{ARGS}}

# Everything that must hold: format, lints, directions, tests, documents, licences.
test: fmt lint directions documents tests deny contract

# The code is formatted.
fmt:
    cargo fmt --all --check

# No warnings.
lint:
    cargo clippy --quiet --workspace --all-targets --locked -- -D warnings

# Dependencies point down; the core is pure.
directions:
    python3 .ci/directions.py

# Unit, integration and kill tests, on real processes where it matters.
tests *ARGS:
    cargo build --quiet --locked --bins
    if cargo nextest --version >/dev/null 2>&1; then \
        cargo nextest run --workspace --locked --no-fail-fast {{ARGS}}; \
    else \
        cargo test --quiet --workspace --locked --no-fail-fast {{ARGS}}; \
    fi

# A minute of talk in a full group of five homes; `just test` has ten seconds of it.
crowd:
    cargo build --quiet --locked --bins
    cargo test --quiet --locked -p homing-testnet --test homes -- --ignored talk_for_a_minute

# Power cuts under a committing store, and faulty stores that they must find out (needs root).
powercut *ARGS:
    .ci/powercut {{ARGS}}

# The documents' examples and every generated document are true.
documents:
    RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --locked

# The HTTP calls against their OpenAPI document, and docs/CLIENTS.md as it is written (Python).
contract:
    .ci/contract

# Licences, sources and bans of what we depend on.
deny:
    if cargo deny --version >/dev/null 2>&1; then \
        cargo deny --locked check --hide-inclusion-graph licenses bans sources; \
    else \
        echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"; \
    fi

# Speed against this machine's own limits.
bench *ARGS:
    cargo build --quiet --release --bin homing --bin homing-testnet
    target/release/homing-testnet bench {{ARGS}}

# Harm to real homes under load: killed, frozen, cut off, filled up, set to wrong times, restored (docs/TESTING.md).
chaos *ARGS:
    cargo build --quiet --locked --bins
    target/debug/homing-testnet chaos {{ARGS}}

# The core of many homes under seeds, with everything that can go wrong (docs/TESTING.md).
sim *ARGS:
    cargo build --quiet --locked --bins
    target/debug/homing-testnet sim {{ARGS}}

# Every fuzz target for so many seconds (docs/TESTING.md); what they find anew stays out of the repository.
fuzz SECONDS="30":
    .ci/fuzz {{SECONDS}}

# Writes the generated documents anew.
generate:
    HOMING_REGENERATE=1 cargo test --quiet --workspace --locked -- generated
