"""schemathesis against the OpenAPI document, at a home of its own: failed log-ins are counted by address."""

import os
import re
import subprocess
import sys
from pathlib import Path

from network import Failed, check

# What a document can promise. Left out: the two that say that a call with valid (or invalid) data must
# succeed (or fail), since a password may be well formed and wrong, and unknown members are ignored.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
]
EXAMPLES = 40
# The whole must end, whatever a home does.
MOST_S = 120


def run(networks):
    network = networks.get("schemathesis", homes=1)
    url = network.http("acme.test")
    # The same run every time: what fails here fails again.
    command = [
        Path(sys.executable).parent / "st",
        "run",
        f"{url}/v1/openapi.json",
        "--checks",
        ",".join(CHECKS),
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        EXAMPLES,
        "--seed",
        1,
        "--request-timeout",
        20,
        "--continue-on-failure",
        "--generation-deterministic",
        "--warnings",
        "off",
        "--no-color",
    ]
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=network.folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            timeout=MOST_S,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"schemathesis did not end within {MOST_S} s") from None
    said = done.stdout + done.stderr
    tested = re.search(r"(\d+) generated", said)
    check(done.returncode == 0, f"schemathesis against {url}/v1/openapi.json:\n{essence(said)}")
    check(tested and int(tested.group(1)) > 100, f"schemathesis tested next to nothing:\n{said}")
    return f"{tested.group(1)} requests against {len(CHECKS)} checks"


def essence(said):
    """From the first failure on; it is long enough."""
    begin = said.find("= FAILURES =")
    text = said[begin if begin >= 0 else 0 :]
    return text if len(text) < 6000 else text[:6000] + "\n…"
