"""The operator's door: /metrics is open, everything else asks for the token."""

import json
import re
import subprocess
from pathlib import Path

from network import PATIENCE_S, PROGRAMS, check, request

HOME = "acme.test"


def run(networks):
    network = networks.get()
    base = network.admin(HOME)
    token = (Path(network.homes[HOME]["dir"]) / "admin.token").read_text().strip()
    right = {"Authorization": f"Bearer {token}"}

    answer = request(f"{base}/metrics")
    check(answer.status == 200, f"/metrics without a token: {answer.status} {answer.text}")
    lines = answer.text.splitlines()
    check(lines[-1] == "# EOF", f"/metrics ends with {lines[-1]!r}")
    strange = [line for line in lines if not re.match(r"homing_[a-z_]+(\{.*\})? [-+0-9.einfa]+$|# ", line)]
    check(not strange, f"not what Prometheus reads, or not ours: {strange[:3]}")
    names = {line.split(" ")[2] for line in lines if line.startswith("# TYPE ")}
    check(len(names) > 30, f"only {len(names)} metrics")
    check(token not in answer.text, "/metrics tells the token")

    doors = [
        ("POST", "/v1/control", {"command": "status"}),
        ("POST", "/v1/control", {"command": "user_state", "user": "alice", "active": False}),
        ("POST", "/v1/control", {"command": "user_export", "user": "alice"}),
        ("GET", "/v1/control", None),
        ("GET", "/", None),
        ("GET", "/v1/nothing", None),
        ("GET", "/metrics/", None),
    ]
    wrong = {
        "no token": {},
        "a wrong token": {"Authorization": f"Bearer {token[:-1]}x"},
        "half a token": {"Authorization": f"Bearer {token[: len(token) // 2]}"},
        "an empty token": {"Authorization": "Bearer "},
        "a user's token": {"Authorization": f"Bearer {network.log_in(f'alice@{HOME}')}"},
        "another home's token": {
            "Authorization": "Bearer " + (Path(network.homes["globex.test"]["dir"]) / "admin.token").read_text().strip()
        },
        "a token in the wrong place": {"Authorization": f"Basic {token}"},
    }
    closed = 0
    for method, path, body in doors:
        for what, headers in wrong.items():
            answer = request(base + path, body, method, headers)
            check(answer.status == 401, f"{method} {path} with {what}: {answer.status} {answer.text}")
            check(answer.json()["error"]["code"] == "bad_token", f"{method} {path}: {answer.text}")
            closed += 1
        # A page in the operator's browser, by a name that points here.
        answer = request(base + path, body, method, {**right, "Host": "rebound.example"})
        check(answer.status == 403, f"{method} {path} as rebound.example: {answer.status} {answer.text}")
        closed += 1
    # The token opens, and none of the above has changed anything.
    answer = request(f"{base}/v1/control", {"command": "status"}, headers=right)
    check(answer.status == 200 and answer.json()["home_id"] == network.homes[HOME]["home_id"], answer.text)
    network.log_in(f"alice@{HOME}")
    config = network.homes[HOME]["config"]
    export = [PROGRAMS / "homing", "user", "export", "alice", "--config", config]
    done = subprocess.run(export, capture_output=True, text=True, timeout=PATIENCE_S)
    rows = [json.loads(line) for line in done.stdout.split("\n") if line]
    check(done.returncode == 0 and rows, f"homing user export: {done.returncode} {done.stderr}")

    # What clients reach shows nothing of it.
    for path in ("/metrics", "/v1/control"):
        answer = request(network.http(HOME) + path, headers=right)
        check(answer.status == 404, f"{path} where clients connect: {answer.status}")
    return f"{len(names)} metrics open, {closed} ways in closed"
