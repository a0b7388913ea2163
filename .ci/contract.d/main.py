"""Runs the parts of the contract, one line each; whatever failed comes with how to run it alone."""

import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import admin
import clients
import files
import hostile
import methods
import schemas
from network import ROOT, Failed, Networks

PARTS = {
    "clients": (clients.run, "the examples of docs/CLIENTS.md, as they are written"),
    "schemathesis": (schemas.run, "the HTTP calls against their OpenAPI document"),
    "methods": (methods.run, "every method and every HTTP call, rightly and wrongly"),
    "bytes": (hostile.run, "text byte for byte, and bytes that are nobody's friend"),
    "admin": (admin.run, "the operator's door: what is open and what is not"),
    "files": (files.run, "files: there and back, who may have them, and what happens when something breaks"),
}

USAGE = "usage: .ci/contract [PART…]\n" + "\n".join(
    f"  {name:<13} {about}" for name, (_, about) in PARTS.items()
)


def main(asked):
    if any(word in ("-h", "--help") for word in asked):
        print(USAGE)
        return 0
    unknown = [word for word in asked if word not in PARTS]
    if unknown:
        print(f"there is no part {unknown[0]}\n{USAGE}", file=sys.stderr)
        return 2
    # SIGTERM ends this like Ctrl-C does: with everything stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # In this order: the page's examples count from the first message on.
    names = [name for name in PARTS if name in asked or not asked]
    failed = []
    # Not in /tmp, which may be memory: each home reserves 128 MiB.
    with tempfile.TemporaryDirectory(prefix="run-", dir=ROOT / "target" / "contract") as folder:
        with Networks(Path(folder)) as networks:
            for name in names:
                if not run_part(name, networks):
                    failed.append(name)
    print(f"contract: {len(names) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def run_part(name, networks):
    begin = time.monotonic()
    try:
        what = PARTS[name][0](networks)
    except Failed as why:
        text = str(why)
    except Exception:
        text = traceback.format_exc().strip()
    else:
        print(f"{name:<13} ok: {what} ({time.monotonic() - begin:.0f} s)", flush=True)
        return True
    print(f"{name:<13} FAILED; alone: .ci/contract {name}")
    for line in (text + networks.last_words()).splitlines():
        print(f"    {line}")
    sys.stdout.flush()
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
