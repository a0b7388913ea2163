#!/usr/bin/env python3
"""Dependencies between the rooms of the house point down, and the core stays pure.

Reads `cargo metadata`; says every edge that goes up, and everything impure below wire and core.
"""

import json
import subprocess
import sys

# Who may know whom, inside the house.
ALLOWED = {
    "homing-wire": set(),
    "homing-core": {"homing-wire"},
    "homing-store": {"homing-core", "homing-wire"},
    "homing-net": {"homing-wire"},
    "homing-link": {"homing-wire"},
    "homing-search": set(),
    "homing-media": {"homing-wire"},
    "homing-client": set(),
    "homing-terminal": {"homing-client"},
    "homing-bridge": {"homing-link", "homing-wire"},
    "homing": {
        "homing-wire",
        "homing-core",
        "homing-store",
        "homing-net",
        "homing-link",
        "homing-bridge",
        "homing-client",
        "homing-search",
        "homing-media",
        "homing-terminal",
    },
    "homing-testnet": {"homing-client", "homing-wire", "homing-core", "homing-store", "homing-net"},
}

# What wire and core must not reach, however far down.
IMPURE = {"tokio", "mio", "socket2", "libp2p", "sled", "rand", "getrandom", "chrono", "time", "tracing"}


def reach(package: str) -> set[str]:
    """The names of everything that a package is built from, with its own features alone."""
    text = subprocess.run(
        ["cargo", "tree", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return {line.split()[0] for line in text.splitlines() if line.strip()}


def main() -> int:
    text = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    metadata = json.loads(text)
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    members = set(metadata["workspace_members"])
    edges = {
        node["id"]: [
            dependency["pkg"]
            for dependency in node["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        for node in metadata["resolve"]["nodes"]
    }
    faults = []
    for member in sorted(members, key=names.get):
        name = names[member]
        if name not in ALLOWED:
            faults.append(f"{name} has no place in .ci/directions.py")
            continue
        for dependency in edges[member]:
            other = names[dependency]
            if dependency in members and other not in ALLOWED[name]:
                faults.append(f"{name} must not depend on {other}")
        if name in ("homing-wire", "homing-core"):
            for impure in sorted(reach(name) & IMPURE):
                faults.append(f"{name} reaches {impure}: it must stay pure")
    for fault in faults:
        print(f"directions: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
