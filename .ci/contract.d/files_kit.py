"""What files.py works with: people with files, clients that upload, where bytes are kept, and memory."""

import asyncio
import base64
import http.client
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

from blake3 import blake3

from network import (
    PASSWORD,
    PATIENCE_S,
    PROGRAMS,
    ROOT,
    Failed,
    Refused,
    Socket,
    check,
    end,
    guarded,
    is_running,
    lines_of,
    request,
    wait_until,
)

HERE = Path(__file__).parent
MIB = 1 << 20
PIECE = "application/offset+octet-stream"
# A gibibyte through a debug build on a busy machine.
TRANSFER_S = 120
BLOCK = MIB


class Person:
    """Somebody who is signed in."""

    def __init__(self, network, address, token):
        self.network, self.address, self.token = network, address, token
        self.home = address.split("@")[1]

    @property
    def base(self):
        return self.network.http(self.home)

    @property
    def bearer(self):
        return {"Authorization": f"Bearer {self.token}"}

    # Calls.

    def call(self, method, **params):
        return asyncio.run(self.on_socket(lambda sock: sock.result(method, **params)))

    async def on_socket(self, use):
        sock = Socket(self.network.ws(self.home))
        await sock.connect(self.bearer)
        try:
            await sock.result("session.open")
            return await use(sock)
        finally:
            await sock.close()

    def share(self, to, media):
        """Sends a file, and tells the message as calls name it."""
        sent = self.call("messages.send", to=to, body={"type": "media", "media": media})
        return {"channel": sent["channel"], "id": sent["id"], "sender": self.address}

    def delete(self, message):
        of = {"id": message["id"], "sender": message["sender"]}
        self.call("messages.send", channel=message["channel"], body={"type": "delete", "of": of})

    def await_message(self, message, kind="media"):
        """Until it is here, and of this kind."""

        async def arrived(sock):
            try:
                here = await sock.result("messages.get", **message)
            except Refused as refused:
                check(refused.code == -32004, str(refused))
            else:
                if here["body"]["type"] == kind:
                    return here
            return await sock.notice(
                "message", lambda params: params["id"] == message["id"] and params["body"]["type"] == kind
            )

        return asyncio.run(self.on_socket(arrived))

    # Files.

    def tus(self, method, where="/v1/media", body=None, headers=None):
        url = urllib.parse.urljoin(self.base, where)
        own = {**self.bearer, "Tus-Resumable": "1.0.0"}
        if body is not None:
            own["Content-Type"] = PIECE
        return request(url, body, method=method, headers={**own, **(headers or {})})

    def create(self, length, name="file.bin", body=None):
        metadata = "filename " + base64.b64encode(name.encode()).decode()
        return self.tus("POST", body=body, headers={"Upload-Length": str(length), "Upload-Metadata": metadata})

    def begin(self, length):
        """A new upload's place."""
        answer = self.create(length)
        check(answer.status == 201, f"an upload of {length} bytes: {answer.status} {answer.text}")
        return answer.headers["Location"]

    def append(self, where, offset, body, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.tus("PATCH", where, body, {"Upload-Offset": str(offset), **headers})

    def offset(self, where):
        answer = self.tus("HEAD", where)
        check(answer.status == 200, f"HEAD {where}: {answer.status}")
        return int(answer.headers["Upload-Offset"])

    def upload(self, content, name="file.bin"):
        """A small file at once. Tells what a message says of it."""
        answer = self.create(len(content), name, content)
        told = f"{answer.status} {answer.text} {dict(answer.headers)}"
        check(answer.status == 201 and answer.headers["Homing-Media"], f"uploading {name!r}: {told}")
        check(answer.headers["Homing-Media-Hash"] == blake3(content).hexdigest(), f"uploading {name!r}: another hash")
        return self.call("media.get", id=answer.headers["Homing-Media"])["media"]

    def read(self, media, method="GET", headers=None, query=""):
        """A small file, or what is said instead."""
        url = f"{self.base}{path_of(media)}{query}"
        return request(url, method=method, headers={**self.bearer, **(headers or {})})

    def look_and_read(self, media):
        return self.read(media, "HEAD").status, self.read(media).status

    def download(self, media, headers=None, after=0, then=None, hasher=None):
        """A large file, never gathered. `then` is called once so many bytes are here. `hasher`: of what came before."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.base).netloc, timeout=TRANSFER_S)
        come, hasher = 0, hasher or blake3()
        try:
            connection.request("GET", path_of(media), headers={**self.bearer, **(headers or {})})
            answer = connection.getresponse()
            wanted = int(answer.headers["Content-Length"])
            try:
                while piece := answer.read1(BLOCK):
                    hasher.update(piece)
                    come += len(piece)
                    if then and come >= after:
                        then()
                        then = None
            except (OSError, http.client.HTTPException):
                # It broke off: `come` tells where.
                pass
            return Download(answer.status, answer.headers, wanted, come, hasher)
        finally:
            connection.close()


class Download:
    def __init__(self, status, headers, wanted, come, hasher):
        self.status, self.headers, self.wanted, self.come = status, headers, wanted, come
        self.hasher = hasher

    @property
    def is_whole(self):
        return self.come == self.wanted


def path_of(media):
    return f"/v1/media/{media['home']}/{media['id']}"


def register(network, home, prefix="files"):
    """Somebody new."""
    user = f"{prefix}-{secrets.token_hex(5)}"
    made = request(f"{network.http(home)}/v1/register", {"user": user, "password": PASSWORD})
    check(made.status == 201, f"registering {user}: {made.status} {made.text}")
    address = f"{user}@{home}"
    return Person(network, address, network.log_in(address))


def write_file(path, size):
    """Bytes that nothing makes smaller; tells their BLAKE3."""
    seed, hasher = secrets.token_bytes(BLOCK), blake3()
    with open(path, "wb") as file:
        for number in range(size // BLOCK):
            block = number.to_bytes(8, "big") + seed[8:]
            hasher.update(block)
            file.write(block)
    return hasher.hexdigest()


class Client:
    """A process that uploads, with a library that others have written."""

    def __init__(self, library, person, file, piece, log, url=None, checksums=False):
        words = {
            "tuspy": [sys.executable, HERE / "tus_client.py"],
            "tus-js-client": ["node", HERE / "tus_client.cjs"],
        }[library]
        words = [*words, f"{person.base}/v1/media", file, piece, *([url] if url else [])]
        environment = {"TOKEN": person.token, "NODE_PATH": str(ROOT / "target/contract/npm/node_modules")}
        if checksums:
            environment["CHECKSUMS"] = "1"
        self.library, self.log = library, log
        self.process = guarded(words, log, environment, gently=False)
        self.lines = lines_of(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def said(self, word):
        """The next value of this word; others are passed over."""
        while True:
            try:
                line = self.lines.get(timeout=TRANSFER_S)
            except queue.Empty:
                raise Failed(f"{self.library} said no {word!r} within {TRANSFER_S} s") from None
            if line is None:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-3:])
                raise Failed(f"{self.library} ended with {self.process.wait()} before {word!r}:\n{tail}")
            came, _, value = line.strip().partition(" ")
            if came == word:
                return value

    def kill(self):
        self.process.kill()
        self.process.wait()


class Folder:
    """Blobs in the home's own folder."""

    name = "folder"

    def __init__(self, network):
        self.network = network

    def environment(self, _home):
        return {}

    def blobs(self, home):
        """Hash → size."""
        found = (media_folder(self.network, home) / "blobs").rglob("*")
        return {path.name: path.stat().st_size for path in found if path.is_file()}

    def stop(self):
        pass


class Bucket:
    """Blobs at a server that speaks like S3."""

    name = "s3"

    def __init__(self, network):
        self.network = network
        self.key = (f"id{secrets.token_hex(8)}", secrets.token_hex(16))
        self.log = network.folder / "moto.txt"
        self.process = None

    def start(self):
        import boto3
        from botocore.config import Config

        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
        self.process = guarded(words, self.log, gently=False)
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.key[0],
            aws_secret_access_key=self.key[1],
            config=Config(connect_timeout=2, retries={"total_max_attempts": 1}, proxies={}),
        )
        wait_until(self.answers, "moto's server", 60, 0.1)
        for home in self.network.homes:
            self.client.create_bucket(Bucket=home)

    def answers(self):
        check(self.process.poll() is None, f"moto's server ended:\n{self.log.read_text()[-2000:]}")
        try:
            return bool(self.client.list_buckets())
        except Exception:
            return False

    def environment(self, home):
        return {
            "HOMING_MEDIA__STORE": "s3",
            "HOMING_MEDIA__S3_ENDPOINT": self.url,
            "HOMING_MEDIA__S3_BUCKET": home,
            "HOMING_MEDIA__S3_KEY_ID": self.key[0],
            "HOMING_MEDIA__S3_KEY": self.key[1],
        }

    def blobs(self, home):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=home, Prefix="blobs/")
        return {row["Key"].rpartition("/")[2]: row["Size"] for page in pages for row in page.get("Contents", [])}

    def stop(self):
        end(self.process)


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def media_folder(network, home):
    return Path(network.homes[home]["dir"]) / "media"


def operator(network, home, *words):
    """What `homing media …` prints."""
    config = network.homes[home]["config"]
    done = subprocess.run(
        [PROGRAMS / "homing", "media", *words, "--config", config], capture_output=True, text=True, timeout=PATIENCE_S
    )
    check(done.returncode == 0, f"homing media {' '.join(words)}: {done.returncode} {done.stderr}")
    return done.stdout


def listed(network, home):
    """The rows of `homing media list`."""
    return [json.loads(line) for line in operator(network, home, "list", "--json").splitlines()]


class Memory:
    """What homes take above what they took when idle, looked at each 100 ms."""

    EVERY_S = 0.1

    def __init__(self, network, idle=None):
        """`idle`: of earlier, kept from one to the next, so that what is never given back counts as well."""
        self.network = network
        self.idle = {} if idle is None else idle
        self.most, self.ever, self.kinds = {}, {}, {}
        self.over = threading.Event()

    def __enter__(self):
        for home in self.network.homes:
            self.idle_now(home)
        self.looking = threading.Thread(target=self.look, daemon=True)
        self.looking.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.looking.join()

    def idle_now(self, home):
        """Of one that was started again the less counts: it may have work already."""
        now = self.of(home, "VmRSS")
        self.idle[home] = (self.network.homes[home]["pid"], min(now, self.idle.get(home, (0, now))[1]))

    def of(self, home, what):
        """In bytes; 0 of a home that has ended."""
        try:
            text = Path(f"/proc/{self.network.homes[home]['pid']}/status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(what)), 0)

    def look(self):
        while not self.over.wait(self.EVERY_S):
            self.look_once()

    def look_once(self):
        for home in self.network.homes:
            pid, idle = self.idle[home]
            # Of one that was started again it is not known yet what it takes when idle.
            if pid != self.network.homes[home]["pid"]:
                continue
            above = self.of(home, "VmRSS") - idle
            if above > self.most.get(home, 0):
                self.most[home] = above
                # Of what: its own, and what is mapped.
                self.kinds[home] = [self.of(home, kind) // MIB for kind in ("RssAnon", "RssFile")]
            self.ever[home] = max(self.ever.get(home, 0), self.of(home, "VmHWM"))

    def told(self):
        self.look_once()
        return max(self.most.values(), default=0), max(self.ever.values(), default=0)

    def details(self):
        """For whoever has to find out why."""
        return ", ".join(
            f"{home} {self.most[home] // MIB} MiB above {self.idle[home][1] // MIB}"
            f" (of its own {self.kinds[home][0]}, mapped {self.kinds[home][1]})"
            for home in sorted(self.most)
        )
