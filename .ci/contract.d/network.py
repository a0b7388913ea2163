"""Homes on loopback, and the two ways in: HTTP and WebSocket."""

import asyncio
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from websockets.asyncio.client import connect

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = (ROOT / os.environ.get("HOMING_BIN_DIR", "target/debug")).resolve()
PASSWORD = "homing-testnet"
# The port that the documents name.
DOCUMENTED = 18080
# Three homes in a debug build, nine passwords hashed, on a busy machine.
READY_S = 180
STOP_S = 40
# How long anything may take that happens at once; only a fault takes so long.
PATIENCE_S = 20


class Failed(Exception):
    """A check failed; the text is for whoever has to find out why."""


def check(condition, text):
    if not condition:
        raise Failed(text)


class Networks:
    """All that was started; leaving it stops everything, however it is left."""

    def __init__(self, folder):
        self.folder = folder
        self.started = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for network in self.started.values():
            network.stop()

    def get(self, name="main", homes=3, environment=None):
        if name not in self.started:
            # Known before it is ready: it must be stopped in any case.
            self.started[name] = Network(self.folder / name, homes, environment)
            self.started[name].start()
        network = self.started[name]
        check(len(network.homes) == homes, "the homes did not start: see above")
        return network

    def last_words(self):
        """Lines of the homes' logs that somebody should have read."""
        lines = []
        for network in self.started.values():
            for log in sorted(network.folder.glob("*.log")):
                text = re.sub(r"\x1b\[\d*m", "", log.read_text(errors="replace")).splitlines()
                bad = [line for line in text if " ERROR " in line or "panicked" in line]
                lines += [f"{log.stem}: {line}" for line in bad[-5:]]
        return "".join(f"\n{line}" for line in lines)


class Network:
    """One `homing-testnet up`."""

    def __init__(self, folder, homes, environment=None):
        self.folder = folder
        self.count = homes
        self.base = free_base(homes)
        # What every home gets beside what this process has.
        self.environment = environment or {}
        self.homes = {}
        self.process = None
        # Homes that were started again: those are nobody's but ours.
        self.served = {}

    def start(self):
        self.folder.mkdir()
        testnet = PROGRAMS / "homing-testnet"
        check(testnet.is_file(), f"{testnet} is not there: cargo build --bin homing --bin homing-testnet")
        up = [testnet, "up", "--json", "--homes", self.count, "--port-base", self.base, "--dir", self.folder]
        self.errors = self.folder / "up.log"
        self.process = guarded(up, self.errors, self.environment)
        lines = lines_of(self.process)
        while True:
            try:
                line = lines.get(timeout=READY_S)
            except queue.Empty:
                raise Failed(f"homing-testnet up was not ready within {READY_S} s{self.said()}") from None
            if line is None:
                status = self.process.wait()
                raise Failed(f"homing-testnet up ended with {status}{self.said()}")
            try:
                said = json.loads(line)
            except ValueError:
                raise Failed(f"homing-testnet up --json printed {line!r}, which is no JSON") from None
            if said.get("ready"):
                break
            self.homes[said["home"]] = said
        check(len(self.homes) == self.count, f"{self.count} homes were asked for, {len(self.homes)} told of")

    def said(self):
        text = self.errors.read_text(errors="replace").strip()
        return f":\n{text}" if text else ""

    def stop(self):
        for process in (*self.served.values(), self.process):
            end(process)

    def kill(self, home, how=signal.SIGKILL):
        """Ends a home, at once or with SIGTERM in order, and waits until it has."""
        pid = self.homes[home]["pid"]
        if is_running(pid):
            os.kill(pid, how)
        wait_until(lambda: not is_running(pid), f"the end of {home}", STOP_S)

    def serve(self, home, environment=None):
        """Starts a home again that has ended."""
        said = self.homes[home]
        words = [PROGRAMS / "homing", "serve", "--config", said["config"], "--json"]
        log = self.folder / f"{home}.log"
        if home in self.served:
            end(self.served[home])
        process = self.served[home] = guarded(words, log, {**self.environment, **(environment or {})})
        lines = lines_of(process)
        try:
            line = lines.get(timeout=READY_S)
        except queue.Empty:
            raise Failed(f"{home} was not ready within {READY_S} s") from None
        if line is None or not json.loads(line).get("ready"):
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise Failed(f"{home} did not start again: {line}\n{tail}")
        said["pid"] = process.pid

    def http(self, home):
        return self.homes[home]["http"]

    def ws(self, home):
        return self.homes[home]["ws"]

    def admin(self, home):
        return self.homes[home]["admin"]

    def log_in(self, address):
        """A fresh token."""
        user, home = address.split("@")
        answer = request(f"{self.http(home)}/v1/login", {"user": user, "password": PASSWORD})
        check(answer.status == 200, f"login of {address}: {answer.status} {answer.text}")
        return answer.json()["token"]

    async def open(self, address, **params):
        """A signed-in socket."""
        sock = Socket(self.ws(address.split("@")[1]))
        await sock.connect({"Authorization": f"Bearer {self.log_in(address)}"})
        sock.opened = await sock.result("session.open", **params)
        return sock


def guarded(words, log, environment=None, gently=True):
    """A process that ends even when this one is killed in a way that nobody can catch."""
    guard = [PROGRAMS / "homing-testnet", "guard", "--parent", os.getpid(), *(["--gently"] if gently else []), "--"]
    with open(log, "ab") as errors:
        return subprocess.Popen(
            [str(word) for word in guard + words],
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Ctrl-C is ours to hand on.
            process_group=0,
        )


def end(process):
    """In order, or else at once."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # Whoever started it may be slow to take note of its end.
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition, what, seconds=PATIENCE_S, pause=0.02):
    """For what nobody tells. Returns what the condition returns once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        came = condition()
        if came:
            return came
        check(time.monotonic() < deadline, f"{what} did not come within {seconds} s")
        time.sleep(pause)


def lines_of(process):
    """What it prints, as it comes; `None` is the end."""
    lines = queue.Queue()
    threading.Thread(target=read_lines, args=(process.stdout, lines), daemon=True).start()
    return lines


def read_lines(pipe, lines):
    for line in pipe:
        lines.put(line)
    lines.put(None)


def free_base(homes):
    """The documented ports where they can be had, else others."""
    candidates = [DOCUMENTED]
    for _ in range(20):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            candidates.append(min(found.getsockname()[1], 65535 - 10 * homes))
    for base in candidates:
        if all(is_free(base + 10 * home + port) for home in range(homes) for port in range(3)):
            return base
    raise Failed("no free ports were found")


def is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


class Answer:
    """Of an HTTP call."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode(errors="replace")

    def json(self):
        return json.loads(self.body)


# Nobody's proxy has a part in what is asked on loopback.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request(url, body=None, method=None, headers=None):
    """Any answer, whatever its status. A body is sent as JSON, bytes as they are."""
    headers = dict(headers or {})
    data = body
    if body is not None and not isinstance(body, bytes):
        data = json.dumps(body).encode()
    if data is not None:
        headers.setdefault("Content-Type", "application/json")
    asked = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with OPENER.open(asked, timeout=PATIENCE_S) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as refused:
        return Answer(refused.code, refused.headers, refused.read())


class Refused(Exception):
    """A call was answered with an error."""

    def __init__(self, method, error):
        super().__init__(f"{method}: {json.dumps(error, ensure_ascii=False)}")
        self.code = error["code"]
        self.reason = error["data"]["reason"]
        self.data = error["data"]


class Socket:
    """A WebSocket: calls by id, notifications in the order they came, everything raw as well."""

    def __init__(self, url):
        self.url = url
        self.next_id = 0
        self.waiting = {}
        # Answers to nobody's id: `null`, or a batch.
        self.loose = asyncio.Queue()
        self.notices = asyncio.Queue()
        self.opened = None

    async def connect(self, headers=None):
        self.ws = await connect(
            self.url,
            additional_headers=headers,
            subprotocols=["homing.v1.json"],
            compression=None,
            max_size=1 << 20,
            open_timeout=PATIENCE_S,
            proxy=None,
        )
        self.reader = asyncio.create_task(self.read())

    async def read(self):
        try:
            async for raw in self.ws:
                message = json.loads(raw)
                answered = self.waiting.pop(message.get("id"), None) if isinstance(message, dict) else None
                if answered is not None:
                    answered.set_result((message, raw))
                elif isinstance(message, dict) and "method" in message:
                    self.notices.put_nowait(message)
                else:
                    self.loose.put_nowait(message)
        except Exception as error:
            self.fail(error)
        else:
            self.fail(ConnectionError("the socket is closed"))

    def fail(self, error):
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(ConnectionError(f"the socket ended: {error}"))
        self.waiting.clear()

    async def send(self, frame):
        await self.ws.send(frame)

    def expect(self, call_id):
        """The answer to this id, to come."""
        future = asyncio.get_running_loop().create_future()
        self.waiting[call_id] = future
        return future

    async def call(self, method, params=None):
        """The whole answer, and its bytes as they came."""
        self.next_id += 1
        call_id = f"call {self.next_id}"
        future = self.expect(call_id)
        frame = {"jsonrpc": "2.0", "id": call_id, "method": method}
        if params is not None:
            frame["params"] = params
        # As most clients write it: text as it is, no escapes.
        await self.send(json.dumps(frame, ensure_ascii=False))
        return await self.wait(future, method)

    async def result(self, method, /, **params):
        answer, _ = await self.call(method, params)
        if "error" in answer:
            raise Refused(method, answer["error"])
        return answer["result"]

    async def ask_raw(self, frame, call_id):
        """Sends a frame as it is and waits for the answer to `call_id`."""
        future = self.expect(call_id)
        await self.send(frame)
        answer, _ = await self.wait(future, str(frame)[:60])
        return answer

    async def ask_loose(self, frame):
        """Sends a frame as it is and waits for an answer to no id, or to a batch."""
        await self.send(frame)
        return await self.wait(self.loose.get(), str(frame)[:60])

    async def notice(self, method, accept=lambda params: True):
        """The next notification like this; others are passed over, as clients do."""
        while True:
            notice = await self.wait(self.notices.get(), f"a notification {method}")
            if notice["method"] == method and accept(notice["params"]):
                return notice["params"]

    async def wait(self, awaitable, what):
        try:
            return await asyncio.wait_for(awaitable, PATIENCE_S)
        except asyncio.TimeoutError:
            raise Failed(f"{what}: nothing came within {PATIENCE_S} s") from None
        except ConnectionError as error:
            raise Failed(f"{what}: {error}") from None

    async def closed(self):
        """Waits until the server has closed, and tells the code."""
        await self.wait(asyncio.shield(self.reader), "the end of the socket")
        return self.ws.close_code

    async def close(self):
        await self.ws.close()
        await asyncio.gather(self.reader, return_exceptions=True)
