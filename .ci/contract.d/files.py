"""Files between two homes: uploaded by clients of others, read by those who may, and by nobody else.

Everything runs twice: with a folder, and with a server that speaks like S3. While working on something:
`FILES=names,images STORES=folder .ci/contract files`.
"""

import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import io
import json
import os
import secrets
import signal
import socket
import struct
import time
import traceback
import urllib.parse
import uuid
import wave
import zlib
from email.message import Message

from blake3 import blake3
from PIL import Image, ImageDraw, ImageOps
from werkzeug.http import parse_options_header

from files_kit import (
    MIB,
    PIECE,
    Bucket,
    Client,
    Folder,
    Memory,
    Person,
    listed,
    media_folder,
    operator,
    path_of,
    register,
    write_file,
)
from network import Failed, Refused, check, request, wait_until

HOME, OTHER = "acme.test", "globex.test"
# Short where it is waited for: a link's life, and what a home that was killed leaves behind.
ENVIRONMENT = {"HOMING_MEDIA__LINK_MS": "3000", "HOMING_LIMITS__MEDIA_BETWEEN_IDLE_MS": "3000"}
# What a home may take above what it takes when idle, however large the file.
MEMORY_BYTES = 150 * MIB
COLLEAGUES, SHARED_BYTES = 50, 10 * MIB
UPLOADS_OF_USER = 100
# For homes that find each other again.
AGAIN_S = 60


def run(networks):
    network = networks.get("files", 2, ENVIRONMENT)
    wanted = os.environ.get("STORES", "folder,s3").split(",")
    files = Files(network)
    figures = []
    for store in (Folder(network), Bucket(network)):
        if store.name in wanted:
            figures.append(files.run(store))
    for home in network.homes:
        log = (network.folder / f"{home}.log").read_text(errors="replace").splitlines()
        files.failures += [f"{home}: {line}" for line in log if "panicked" in line][:3]
    # What passed says more about what did not.
    check(not files.failures, "\n".join(files.failures + figures))
    return "; ".join(figures)


class Files:
    def __init__(self, network):
        self.network = network
        self.failures = []
        tokens = {a: network.log_in(a) for a in (f"{u}@{h}" for u in ("alice", "bob", "carol") for h in (HOME, OTHER))}
        people = {address: Person(network, address, token) for address, token in tokens.items()}
        self.alice, self.bob = people[f"alice@{HOME}"], people[f"bob@{OTHER}"]
        self.carol, self.stranger = people[f"carol@{OTHER}"], people[f"carol@{HOME}"]
        self.colleagues = []
        # What homes took before they had anything to do.
        self.idle = {}
        # How each home runs, beside what all homes have; `None`: it does not.
        self.running = dict.fromkeys(network.homes, {})

    def run(self, store):
        self.store = store
        self.is_large = store.name == "folder"
        checks = {
            "tuspy": self.tuspy,
            "tus-js-client": self.tus_js_client,
            "shared": self.shared_by_fifty,
            "names": self.names,
            "strangers": self.strangers,
            "links": self.links,
            "bad-input": self.bad_input,
            "slow": self.slow_clients,
            "many": self.ten_thousand,
            "away": self.other_home_away,
            "cut": self.cut_in_the_middle,
            "images": self.images,
            "sound": self.sound,
            "copies": self.copies,
        }
        asked = os.environ.get("FILES")
        names = [name for name in checks if not asked or name in asked.split(",")]
        begin, told, passed = time.monotonic(), [], 0
        try:
            if isinstance(store, Bucket):
                store.start()
            for name in names:
                since = time.monotonic()
                try:
                    self.settle()
                    figure = checks[name]()
                except Failed as why:
                    self.failures.append(f"{store.name}, {name}: {why}")
                except Exception:
                    self.failures.append(f"{store.name}, {name}: {traceback.format_exc(limit=-4).strip()}")
                else:
                    passed += 1
                    told += [figure] if figure else []
                if "FILES_TIMES" in os.environ:
                    print(f"  {store.name} {name}: {time.monotonic() - since:.1f} s", flush=True)
        finally:
            store.stop()
        return f"{store.name}: {passed} of {len(names)} in {time.monotonic() - begin:.0f} s, {', '.join(told)}"

    # Homes.

    def settle(self):
        """Both homes run, as they do for all checks that want nothing else."""
        for home in self.network.homes:
            if self.running[home] != self.store.environment(home):
                self.restart(home)

    def restart(self, home, **settings):
        """With other settings."""
        self.stop(home)
        self.start(home, **settings)

    def stop(self, home, how=signal.SIGTERM):
        self.running[home] = None
        self.network.kill(home, how)

    def kill(self, home):
        self.stop(home, signal.SIGKILL)

    def start(self, home, **settings):
        environment = self.store.environment(home) | {f"HOMING_{name}": str(value) for name, value in settings.items()}
        self.network.serve(home, environment)
        self.running[home] = environment

    def sent(self, content, name="file.bin", to=None):
        """A file from alice that the other one has been told of."""
        to = to or self.bob
        media = self.alice.upload(content, name)
        message = self.alice.share(to.address, media)
        to.await_message(message)
        return media, message

    # 1. There and back.

    def tuspy(self):
        self.with_checksums()
        size, piece = (1024 * MIB, 64 * MIB) if self.is_large else (64 * MIB, 4 * MIB)
        return self.there_and_back("tuspy", size, piece)

    def tus_js_client(self):
        size, piece = (256 * MIB, 16 * MIB) if self.is_large else (64 * MIB, 4 * MIB)
        return self.there_and_back("tus-js-client", size, piece)

    def with_checksums(self):
        """Each piece with its SHA-1."""
        file = self.network.folder / "checksums.bin"
        wanted = write_file(file, 3 * MIB)
        with Client("tuspy", self.alice, file, MIB, self.log("tuspy"), checksums=True) as client:
            url = client.said("whole")
        told = self.alice.tus("HEAD", url).headers["Homing-Media-Hash"]
        check(told == wanted, f"pieces with checksums: the hash is {told}, not {wanted}")

    def log(self, name):
        # Not `.log`: those are homes'.
        return self.network.folder / f"{name}.txt"

    def there_and_back(self, library, size, piece):
        file = self.network.folder / "large.bin"
        wanted = write_file(file, size)
        try:
            with Memory(self.network, self.idle) as memory:
                begin = time.monotonic()
                url = self.upload_in_spite(library, file, piece, memory)
                up = time.monotonic() - begin
                head = self.alice.tus("HEAD", url)
                told = head.headers["Homing-Media-Hash"]
                check(told == wanted, f"the home says {told}, the file is {wanted}")
                media = self.alice.call("media.get", id=head.headers["Homing-Media"])["media"]
                check((media["hash"], media["size"]) == (wanted, size), f"media.get: {media}")
                message = self.alice.share(self.bob.address, media)
                body = self.bob.await_message(message)["body"]
                check(body["media"] == media, f"bob is told {body}")
                begin = time.monotonic()
                came = wait_until(lambda: self.whole(media), "the file at bob's home", AGAIN_S, 0.5)
                down = time.monotonic() - begin
                check(came.hasher.hexdigest() == wanted, f"bob has {came.come} other bytes")
                above, ever = memory.told()
        finally:
            file.unlink()
        check(above < MEMORY_BYTES, f"a home takes too much: {memory.details()}")
        return (
            f"{library} {size // MIB} MiB up {up:.0f} s down {down:.0f} s, "
            f"{above / MIB:.0f} MiB above idle, {ever / MIB:.0f} at most"
        )

    def whole(self, media):
        """The file at bob's home. It may have to find the other one again first."""
        came = self.bob.download(media)
        if came.status == 503:
            return None
        check(came.status == 200 and came.is_whole, f"bob: {came.status}, {came.come} of {came.wanted} bytes")
        return came

    def upload_in_spite(self, library, file, piece, memory):
        """The client is killed twice, the home once, each in the middle of a piece. Tells the upload's place."""
        url = None
        for ends in ("client", "client", "home"):
            with Client(library, self.alice, file, piece, self.log(library), url) as client:
                url = url or client.said("url")
                acknowledged = int(client.said("at"))
                self.in_the_middle(url, acknowledged + piece // 4)
                if ends == "client":
                    client.kill()
                else:
                    self.kill(HOME)
                    self.start(HOME)
                    memory.idle_now(HOME)
                    if library == "tus-js-client":
                        # It tries again by itself.
                        client.said("whole")
            here = self.alice.offset(url)
            check(here >= acknowledged, f"{library}: after the {ends} was killed {here} bytes of {acknowledged} are here")
        if library == "tuspy":
            with Client(library, self.alice, file, piece, self.log(library), url) as client:
                client.said("whole")
        return url

    def in_the_middle(self, url, offset):
        """Until the home has written so much of a piece that has not ended."""
        part = media_folder(self.network, HOME) / "uploads" / f"{url.rpartition('/')[2]}.part"
        wait_until(lambda: part.stat().st_size >= offset, f"{offset} bytes of {part.name}", 30, 0.002)

    # 2. The same file many times.

    def shared_by_fifty(self):
        while len(self.colleagues) < COLLEAGUES:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                count = COLLEAGUES - len(self.colleagues)
                self.colleagues += pool.map(lambda _: register(self.network, HOME), range(count))
        content = secrets.token_bytes(SHARED_BYTES)
        name = blake3(content).hexdigest()
        before = self.store.blobs(HOME)
        kept = [(person, *self.shared(person, content)) for person in self.colleagues]
        grown = sum(self.store.blobs(HOME).values()) - sum(before.values())
        check(grown == SHARED_BYTES, f"{COLLEAGUES} times the same {SHARED_BYTES} bytes take {grown}")
        rows = [row for row in listed(self.network, HOME) if row["hash"] == name]
        owners = {row["owner"] for row in rows if row["named"]}
        check(len(rows) == len(owners) == COLLEAGUES, f"homing media list tells of {len(rows)}, by {len(owners)}")
        self.purge_dry(name)

        self.restart(HOME, MEDIA__UNNAMED_MS=1000, MEDIA__SWEEP_MS=200)
        for person, _, message in kept[1:]:
            person.delete(message)
        _, media, message = kept[0]

        def left():
            return [row for row in listed(self.network, HOME) if row["hash"] == name]

        wait_until(lambda: len(left()) == 1, "the end of 49 files of 50", AGAIN_S, 0.2)
        check(self.store.blobs(HOME).get(name) == SHARED_BYTES, "49 of 50 are deleted, and the bytes are gone")
        answer = self.stranger.read(media)
        check(answer.status == 200 and answer.body == content, f"the last one's receiver: {answer.status}")

        kept[0][0].delete(message)
        begin = time.monotonic()
        wait_until(lambda: name not in self.store.blobs(HOME), "the end of the bytes", AGAIN_S, 0.05)
        check(not left(), f"homing media list tells of {left()}")
        check(self.stranger.look_and_read(media) == (404, 404), "what was deleted is read")
        grown = sum(self.store.blobs(HOME).values()) - sum(before.values())
        check(grown <= 0, f"{grown} bytes more than before are left")
        return f"{COLLEAGUES}×10 MiB in one, gone in {time.monotonic() - begin:.1f} s"

    def shared(self, person, content):
        media = person.upload(content, "the same.bin")
        return media, person.share(self.stranger.address, media)

    def purge_dry(self, name):
        """It says what would be removed, and removes nothing."""
        rows, blobs = listed(self.network, HOME), self.store.blobs(HOME)
        wait_until(lambda: all(row["created_at"] < time.time() * 1000 - 1000 for row in rows), "a second")
        told = json.loads(operator(self.network, HOME, "purge", "--older-than", "1s", "--dry-run", "--json"))
        check(told["files"] >= COLLEAGUES and told["dry_run"] is True, f"purge --dry-run tells {told}")
        check(told["bytes"] == sum(row["size"] for row in rows), f"purge --dry-run tells {told} of {len(rows)} files")
        check(self.store.blobs(HOME) == blobs and name in blobs, "purge --dry-run has removed bytes")
        check(len(listed(self.network, HOME)) == len(rows), "purge --dry-run has removed files")

    # 3. Names.

    def names(self):
        page = b"<!DOCTYPE html><script>alert(1)</script>"
        drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
        long = "é" * 148 + ".txt"
        check(len(long.encode()) == 300, "the test's name is not of 300 bytes")
        # Name, bytes, what it must be called (or what must hold).
        cases = [
            ('a;b "c".svg', drawing, 'a;b "c".svg'.__eq__),
            ("photo\u202egnp.exe", b"MZ" + bytes(64), lambda name: "\u202e" not in name and name.endswith(".exe")),
            (long, b"long", lambda name: len(name.encode()) <= 255 and name.startswith("éé") and name.endswith(".txt")),
            ("../../x", b"outside", "x".__eq__),
            ("..\\..\\y.txt", b"outside", "y.txt".__eq__),
            ("page.png", page, "page.png".__eq__),
            ("a\r\nX-Evil: 1\r\n\r\n<b>.txt", b"lines", lambda name: "\r" not in name and "\n" not in name),
            ("...", b"dots", lambda name: name.strip(".") != ""),
        ]
        for name, content, is_right in cases:
            media, _ = self.sent(content + secrets.token_bytes(4).hex().encode(), name)
            for who in (self.alice, self.bob):
                for method in ("GET", "HEAD"):
                    self.harmless(f"{name!r} at {who.address}, {method}", who.read(media, method), is_right)
        return f"{len(cases)} names"

    def harmless(self, what, answer, is_right):
        check(answer.status == 200, f"{what}: {answer.status} {answer.text}")
        headers = answer.headers
        said = headers["Content-Disposition"]
        told = f"{what}: {dict(headers)}"
        kind, options = parse_options_header(said)
        check(kind == "attachment", told)
        check(is_right(options.get("filename", "")), f"{what} is called {options.get('filename')!r}: {said}")
        check(not set("/\\\r\n\0") & set(options["filename"]), told)
        # The plain name, for those who do not know the other one.
        message = Message()
        message["Content-Disposition"] = said
        plain = message.get_filename()
        check(message.get_content_disposition() == "attachment" and plain, told)
        check(plain.isascii() and not set('/\\"\r\n') & set(plain), f"{what}: the plain name is {plain!r}")
        check(headers["X-Content-Type-Options"] == "nosniff", told)
        check("sandbox" in headers["Content-Security-Policy"], told)
        check(headers["X-Evil"] is None, told)
        check(not headers["Content-Type"].startswith("image/png"), told)
        check(headers["ETag"] and headers["Accept-Ranges"] == "bytes", told)
        cached = headers["Cache-Control"]
        check("private" in cached and "immutable" in cached, told)

    # 4. Who may.

    def strangers(self):
        # One to another home, one within this.
        away, message = self.sent(b"between homes " + secrets.token_bytes(8))
        here, _ = self.sent(b"within one " + secrets.token_bytes(8), to=self.stranger)
        tried = 0
        # The other home is not in the second channel at all.
        for media, who in (
            (away, self.carol),
            (away, self.stranger),
            (here, self.carol),
            (here, self.bob),
        ):
            self.is_not_there(who, media)
            tried += 1
        # A thumbnail, a part, or a page's question tells no more.
        for headers, query in (({"Range": "bytes=0-1"}, ""), ({}, "?thumbnail=320"), ({"If-None-Match": "*"}, "")):
            answer = self.carol.read(away, headers=headers, query=query)
            check(answer.status == 404, f"{headers} {query} of a stranger: {answer.status} {answer.text}")
        # Nor may a stranger send it on.
        body = {"type": "media", "media": away}
        refused = self.refusal(self.carol, "messages.send", to=self.bob.address, body=body)
        check(refused == -32004, f"a stranger sends the file on: {refused}")
        refused = self.refusal(self.stranger, "media.get", id=away["id"])
        check(refused == -32004, f"a stranger asks media.get: {refused}")

        for who in (self.alice, self.bob):
            for method in ("GET", "HEAD"):
                bare = request(f"{who.base}{path_of(away)}", method=method)
                check(bare.status == 401, f"{method} without a token at {who.home}: {bare.status}")
                wrong = request(f"{who.base}{path_of(away)}", method=method, headers={"Authorization": "Bearer x"})
                check(wrong.status == 401, f"{method} with a wrong token at {who.home}: {wrong.status}")
            check(who.look_and_read(away) == (200, 200), f"{who.address} may not read")

        self.alice.delete(message)
        self.bob.await_message(message, "deleted")
        self.is_not_there(self.bob, away)
        return f"{tried + 1} strangers"

    def is_not_there(self, who, media):
        """Just as what has never been."""
        never = {**media, "id": str(uuid.uuid4())}
        for method in ("GET", "HEAD"):
            one, other = who.read(media, method), who.read(never, method)
            check(one.status == 404, f"{method} by {who.address}: {one.status} {one.text[:100]}")
            check(other.status == 404, f"{method} of what has never been: {other.status}")
            check(one.body == other.body, f"{method} by {who.address} tells {one.text} here, {other.text} there")
            heads = [{k: v for k, v in answer.headers.items() if k.lower() != "date"} for answer in (one, other)]
            check(heads[0] == heads[1], f"{method} by {who.address} tells by its headers: {heads}")

    def refusal(self, who, method, **params):
        try:
            return who.call(method, **params)
        except Refused as refused:
            return refused.code

    def links(self):
        content = b"linked " + secrets.token_bytes(8)
        media, message = self.sent(content)
        another, _ = self.sent(b"another " + secrets.token_bytes(8))
        for who in (self.alice, self.bob):
            told = who.call("media.url", **message)
            url = urllib.parse.urljoin(who.base, told["url"])
            answer = request(url)
            check(answer.status == 200 and answer.body == content, f"a link of {who.home}: {answer.status} {answer.text[:100]}")
            asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
            signature = asked["signature"]
            other = ("A" if signature[0] != "A" else "B") + signature[1:]
            forged = {
                "another signature": url.replace(signature, other),
                "half a signature": url.replace(signature, signature[: len(signature) // 2]),
                "no signature": url.replace(f"signature={signature}", ""),
                "a longer life": url.replace(asked["expires"], str(int(asked["expires"]) + 1)),
                "another file": url.replace(media["id"], another["id"]),
                "a thumbnail": url + "&thumbnail=320",
                "another home": url.replace(f"/{HOME}/", f"/{OTHER}/"),
            }
            for what, link in forged.items():
                answer = request(link)
                check(answer.status in (400, 401, 403, 404), f"a link with {what} at {who.home}: {answer.status}")
                check(content not in answer.body, f"a link with {what} at {who.home} gives the file")
            begin = time.time() * 1000
            check(told["expires_at"] <= begin + 3000, f"the link lasts too long: {told}")
            gone = wait_until(lambda: request(url).status != 200 and request(url), "the end of a link", 10, 0.1)
            check(gone.status in (403, 404), f"a link that is too old: {gone.status} {gone.text}")
            check(time.time() * 1000 >= told["expires_at"] - 1, f"a link ended before its time: {told}")

    # 5. Bad input.

    def uploads(self):
        """What is in the folder of uploads."""
        return sorted(path.name for path in (media_folder(self.network, HOME) / "uploads").iterdir() if path.is_file())

    def bad_input(self):
        quota = 16 * MIB
        self.restart(HOME, MEDIA__USER_BYTES=quota)
        who, other = register(self.network, HOME), register(self.network, HOME)
        before = self.uploads()
        where = who.begin(10)
        tried = 0

        def refused(what, answer, status, code=None, offset=None):
            nonlocal tried
            tried += 1
            came = f"{answer.status} {answer.text}"
            check(answer.status == status, f"{what}: expected {status}, came {came}")
            check(code is None or answer.json()["error"]["code"] == code, f"{what}: expected {code}, came {came}")
            if offset is not None:
                check(who.offset(where) == offset, f"{what}: the upload is at {who.offset(where)}, not at {offset}")

        def sums(algorithm, content):
            digest = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
            return {"Upload_Checksum": f"{algorithm} {digest}"}

        refused("an offset beyond", who.append(where, 5, b"abc"), 409, "offset_conflict", 0)
        check(who.append(where, 0, b"abc", **sums("sha1", b"abc")).status == 204, "a right SHA-1 is refused")
        refused("an offset before", who.append(where, 0, b"abc"), 409, "offset_conflict", 3)
        for algorithm in ("sha1", "sha256"):
            wrong = sums(algorithm, b"deX")
            refused(f"a wrong {algorithm}", who.append(where, 3, b"def", **wrong), 460, "checksum_mismatch", 3)
        refused("an unknown checksum", who.append(where, 3, b"def", Upload_Checksum="md5 AAAA"), 400, "unknown_checksum", 3)
        refused("a short checksum", who.append(where, 3, b"def", Upload_Checksum="sha1 AAAA"), 400, "bad_checksum", 3)
        check(who.append(where, 3, b"def", **sums("sha256", b"def")).status == 204, "a right SHA-256 is refused")
        refused("more than announced", who.append(where, 6, b"ghijk"), 413, "upload_too_large", 6)
        refused("much more than announced", who.append(where, 6, bytes(5 * MIB)), 413, "upload_too_large", 6)
        refused("an offset that is none", who.append(where, "x", b"ghij"), 400, "bad_upload_offset", 6)
        refused("no version", request(who.base + "/v1/media", method="POST", headers=who.bearer), 412, "tus_version")
        bare = request(who.base + where, method="HEAD", headers={"Tus-Resumable": "1.0.0"})
        refused("HEAD without a token", bare, 401)
        for length in ("-1", "x", "1e3", "", "99999999999999999999999"):
            answer = who.tus("POST", headers={"Upload-Length": length})
            refused(f"a length of {length!r}", answer, 400, "bad_upload_length")
        refused("no length", who.tus("POST"), 400, "bad_upload_length")
        answer = who.tus("POST", headers={"Upload-Length": "1", "Upload-Metadata": "filename !"})
        refused("metadata that is none", answer, 400, "bad_upload_metadata")
        never = f"/v1/media/{uuid.uuid4()}"
        for what, place, person in (("an upload that is not", never, who), ("somebody else's upload", where, other)):
            refused(f"HEAD of {what}", person.tus("HEAD", place), 404)
            refused(f"PATCH of {what}", person.append(place, 6, b"ghij"), 404, "upload_not_found")
            refused(f"DELETE of {what}", person.tus("DELETE", place), 404, "upload_not_found")
        refused("no id", who.append("/v1/media/x", 0, b"a"), 404)
        check(who.append(where, 6, b"ghij").status == 204, "after all of it the rest is refused")
        check(who.offset(where) == 10, "after all of it the upload is not whole")
        media = who.call("media.get", id=who.tus("HEAD", where).headers["Homing-Media"])["media"]
        check(who.read(media).body == b"abcdefghij", f"the file is {who.read(media).text}")
        refused("DELETE of a whole upload", who.tus("DELETE", where), 409, "upload_finished")
        refused("a file that is not", who.read({**media, "id": str(uuid.uuid4())}), 404, "media_not_found")

        for asked in ("bytes=10-", "bytes=10-20", "bytes=999999999999999999999-"):
            answer = who.read(media, headers={"Range": asked})
            refused(asked, answer, 416, "range_not_satisfiable")
            check(answer.headers["Content-Range"] == "bytes */10", f"{asked}: {dict(answer.headers)}")
        for asked, wanted in (("bytes=2-4", b"cde"), ("bytes=7-99", b"hij"), ("bytes=-4", b"ghij"), ("bytes=0-", b"abcdefghij")):
            answer = who.read(media, headers={"Range": asked})
            check((answer.status, answer.body) == (206, wanted), f"{asked}: {answer.status} {answer.text}")

        check(self.uploads() == before, f"left in the folder of uploads: {set(self.uploads()) - set(before)}")
        refused("more than the quota", who.create(quota), 413, "user_quota")
        refused("more than the quota, with bytes", who.create(quota, body=bytes(MIB)), 413, "user_quota")
        refused("larger than any file", who.create(1 << 52), 413, "upload_too_large")
        lies = who.create(3, body=b"more than three")
        refused("a first piece that is longer", lies, 413, "upload_too_large")
        refused("a first piece, chunked and longer", self.chunked(who, 3, b"more than three"), 413)
        check(self.uploads() == before, f"refused, and yet in the folder of uploads: {set(self.uploads()) - set(before)}")
        # What is under way counts as well.
        where = who.begin(quota - 20)
        refused("the quota, with an upload under way", who.create(20), 413, "user_quota")
        check(who.tus("DELETE", where).status == 204, "an upload is not ended")
        check(self.uploads() == before, f"an upload was ended, and left {set(self.uploads()) - set(before)}")
        self.two_at_once(who)
        return f"{tried} refusals"

    def chunked(self, who, length, body):
        """A first piece whose length is not told."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(who.base).netloc, timeout=20)
        own = {**who.bearer, "Tus-Resumable": "1.0.0", "Upload-Length": str(length), "Content-Type": PIECE}
        with contextlib.closing(connection):
            connection.request("POST", "/v1/media", iter([body]), own, encode_chunked=True)
            answer = connection.getresponse()
            answer.text = answer.read().decode()
            return answer

    def raw_piece(self, who, where, offset, length):
        """A PATCH of which only the head is sent."""
        at = urllib.parse.urlsplit(who.base)
        sock = socket.create_connection((at.hostname, at.port), timeout=20)
        head = [
            f"PATCH {urllib.parse.urlsplit(where).path} HTTP/1.1",
            f"Host: {at.netloc}",
            *(f"{name}: {value}" for name, value in who.bearer.items()),
            "Tus-Resumable: 1.0.0",
            f"Content-Type: {PIECE}",
            f"Upload-Offset: {offset}",
            f"Content-Length: {length}",
        ]
        sock.sendall("\r\n".join([*head, "", ""]).encode())
        return sock

    def two_at_once(self, who):
        """One is taken, the other is told to wait."""
        size = 8 * MIB
        content = secrets.token_bytes(size)
        where = who.begin(size)
        with self.raw_piece(who, where, 0, size) as first:
            first.sendall(content[: size // 2])
            self.in_the_middle(where, MIB)
            answer = who.append(where, 0, b"x" * size)
            came = (answer.status, answer.json()["error"]["code"])
            check(came == (423, "upload_busy"), f"two at once: the second is told {came}")
            first.sendall(content[size // 2 :])
            won = first.recv(1000)
            check(b" 204 " in won.split(b"\r\n")[0], f"two at once: the first is told {won}")
        told = who.tus("HEAD", where).headers["Homing-Media-Hash"]
        check(told == blake3(content).hexdigest(), "two at once: the file is another one")

    def slow_clients(self):
        """Cut, and what came is kept."""
        idle, window = 1000, 2000
        self.restart(
            HOME,
            LIMITS__MEDIA_IDLE_MS=idle,
            LIMITS__MEDIA_WINDOW_MS=window,
        )
        who = register(self.network, HOME)
        told = []
        for what, every in (("a byte and then nothing", None), ("a byte each 0.4 s", 0.4)):
            where = who.begin(1000)
            begin = time.monotonic()
            with self.raw_piece(who, where, 0, 1000) as sock:
                sent = 0
                sock.settimeout(every or 20)
                came = b""
                while time.monotonic() - begin < 20:
                    try:
                        if every or not sent:
                            sock.sendall(b"a")
                            sent += 1
                        came = sock.recv(1000)
                        break
                    except TimeoutError:
                        continue
                    except OSError:
                        came = b""
                        break
                else:
                    raise Failed(f"{what}: not cut within 20 s")
            took = time.monotonic() - begin
            line = came.split(b"\r\n")[0]
            check(not line or b" 408 " in line, f"{what}: answered {line}")
            check(took < (idle + window) / 1000 + 5, f"{what}: cut after {took:.1f} s")
            told.append(f"{took:.1f}")
            here = wait_until(lambda: who.offset(where), f"what came of {what}")
            check(1 <= here <= sent, f"{what}: {here} of {sent} bytes were kept")
            rest = bytes(1000 - here)
            check(who.append(where, here, rest).status == 204, f"{what}: the rest is refused")
            whole = who.tus("HEAD", where).headers["Homing-Media-Hash"]
            check(whole == blake3(b"a" * here + rest).hexdigest(), f"{what}: the file is another one")
        told.append(f"{self.slow_reader():.1f}")
        return f"slow ones cut after {', '.join(told)} s"

    def slow_reader(self):
        """Who takes nothing is cut as well. Seen by the place that it takes: there is one."""
        self.restart(HOME, LIMITS__MEDIA_IDLE_MS=1000, LIMITS__TRANSFERS_PER_USER=1)
        who = register(self.network, HOME)
        media = who.upload(secrets.token_bytes(32 * MIB))
        at = urllib.parse.urlsplit(who.base)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20)
            sock.connect((at.hostname, at.port))
            head = [f"GET {path_of(media)} HTTP/1.1", f"Host: {at.netloc}", f"Authorization: Bearer {who.token}", "", ""]
            sock.sendall("\r\n".join(head).encode())
            check(sock.recv(12) == b"HTTP/1.1 200", "a slow reader is refused")

            def rest():
                return who.read(media, headers={"Range": "bytes=1000-1999"})

            begin = time.monotonic()
            busy = rest()
            told = f"{busy.status} {busy.text[:100]} {dict(busy.headers)}"
            check(busy.status == 503 and int(busy.headers["Retry-After"]) > 0, f"a second file of one: {told}")
            check(busy.json()["error"]["code"] == "transfers_per_user", f"a second file of one: {told}")
            wait_until(lambda: rest().status == 206, "the end of a reader who takes nothing", 20, 0.1)
        return time.monotonic() - begin

    def ten_thousand(self):
        """Uploads that one user begins: no more than the limit are there."""
        tries = 10_000 if self.is_large else 1_000
        who = register(self.network, HOME)
        before = len(self.uploads())
        headers = {**who.bearer, "Tus-Resumable": "1.0.0", "Upload-Length": "1"}

        def begin(count):
            connection = http.client.HTTPConnection(urllib.parse.urlsplit(who.base).netloc, timeout=20)
            told = {}
            with contextlib.closing(connection):
                for _ in range(count):
                    connection.request("POST", "/v1/media", headers=headers)
                    answer = connection.getresponse()
                    text = answer.read().decode()
                    told.setdefault(answer.status, [0, text])[0] += 1
            return told

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(begin, [tries // 4] * 4))
        counted = {}
        for status, (count, text) in (item for part in parts for item in part.items()):
            counted[status] = counted.get(status, 0) + count
            check(status in (201, 429), f"a new upload: {status} {text}")
            check(status != 429 or "too_many_uploads" in text, f"429: {text}")
        limit = UPLOADS_OF_USER
        check(counted == {201: limit, 429: tries - limit}, f"of {tries} uploads with limit {limit}: {counted}")
        there = len(self.uploads()) - before
        check(there <= 2 * limit, f"{there} files in the folder of uploads, for {limit} uploads")
        other = register(self.network, HOME)
        check(other.create(1).status == 201, "somebody else may not upload")
        return f"{limit} of {tries} uploads"

    # 6. The other home is away.

    def other_home_away(self):
        content = secrets.token_bytes(MIB)
        media, _ = self.sent(content)
        self.stop(HOME)
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = {method: pool.submit(self.bob.read, media, method) for method in ("GET", "HEAD")}
        told = time.monotonic() - begin
        for method, answer in ((method, answer.result()) for method, answer in answers.items()):
            check(answer.status == 503, f"{method} while the home is away: {answer.status} {answer.text}")
            check(int(answer.headers["Retry-After"] or 0) > 0, f"503 without Retry-After: {dict(answer.headers)}")
        self.start(HOME)
        begin = time.monotonic()
        again = wait_until(lambda: self.unless_away(media), "the file when the home is back", AGAIN_S, 0.1)
        check(again.body == content, "the file is another one")
        return f"503 after {told:.1f} s, there again after {time.monotonic() - begin:.1f} s"

    def unless_away(self, media):
        answer = self.bob.read(media)
        check(answer.status in (200, 503), f"after the home is back: {answer.status} {answer.text}")
        return answer if answer.status == 200 else None

    def cut_in_the_middle(self):
        """What was cut is not taken for whole, and goes on."""
        size = (256 if self.is_large else 64) * MIB
        file = self.network.folder / "cut.bin"
        wanted = write_file(file, size)
        with Client("tuspy", self.alice, file, size, self.log("tuspy")) as client:
            place = client.said("whole")
        media = self.alice.call("media.get", id=self.alice.tus("HEAD", place).headers["Homing-Media"])["media"]
        file.unlink()
        message = self.alice.share(self.bob.address, media)
        self.bob.await_message(message)
        begin = time.monotonic()
        first = self.bob.download(media, after=size // 8, then=lambda: self.kill(HOME))
        took = time.monotonic() - begin
        check(first.status == 200, f"the download: {first.status}")
        check(not first.is_whole, f"all {first.come} bytes came before the home was killed: the test is too slow")
        check(took < 60, f"the connection ended after {took:.0f} s")
        self.start(HOME)

        def rest():
            came = self.bob.download(media, {"Range": f"bytes={first.come}-"}, hasher=first.hasher.copy())
            check(came.status in (206, 503), f"the rest: {came.status}")
            return came if came.status == 206 and came.is_whole else None

        came = wait_until(rest, "the rest of what was cut", AGAIN_S, 0.2)
        check(first.come + came.come == size, f"{first.come} and {came.come} bytes are not {size}")
        check(came.hasher.hexdigest() == wanted, "what came before and after the cut is another file")
        return f"cut after {first.come / MIB:.0f} of {size // MIB} MiB, told in {took:.1f} s"

    # 7. Images.

    def images(self):
        content, upright = photograph()
        media, message = self.sent(content, "photo.jpg")
        check((media.get("width"), media.get("height")) == upright.size, f"{upright.size} is told as {media}")
        check(media["mime"] == "image/jpeg", f"a JPEG is told as {media}")
        check(len(base64.b64decode(media.get("preview", ""))) >= 5, f"no preview: {media}")
        for who in (self.alice, self.bob):
            small = self.thumbnail(who, media)
            check(max(small.size) == 320 and small.size == (240, 320), f"the thumbnail at {who.home} is {small.size}")
            check(same_colours(small, upright), f"the thumbnail at {who.home} is turned")
            whole = who.read(media)
            check(whole.body == content and whole.headers["Content-Type"] == "image/jpeg", f"the photo at {who.home}")
            check(parse_options_header(whole.headers["Content-Disposition"])[0] == "inline", "a photo is not shown")
            check(whole.headers["X-Content-Type-Options"] == "nosniff", "a photo without nosniff")
        link = self.bob.call("media.url", **message, thumbnail=320)["url"]
        answer = request(urllib.parse.urljoin(self.bob.base, link))
        check(answer.status == 200 and answer.headers["Content-Type"].startswith("image/"), f"a thumbnail's link: {answer.status}")

        bomb = png_bomb(50_000)
        with Memory(self.network) as memory:
            media, _ = self.sent(bomb, "bomb.png")
            for who in (self.alice, self.bob):
                answer = who.read(media, query="?thumbnail=320")
                told = f"{answer.status} {answer.text[:100]}"
                check(answer.status == 404, f"the bomb's thumbnail at {who.home}: {told}")
                check(answer.json()["error"]["code"] == "no_thumbnail", f"the bomb's thumbnail at {who.home}: {told}")
                answer = who.read(media)
                check(answer.status == 200 and answer.body == bomb, f"the bomb at {who.home}: {answer.status}")
            above, _ = memory.told()
        check(above < MEMORY_BYTES, f"the bomb takes too much: {memory.details()}")
        media, _ = self.sent(b"no image at all")
        answer = self.bob.read(media, query="?thumbnail=320")
        check(answer.status == 404, f"the thumbnail of a text: {answer.status}")
        return f"a bomb of 50,000² takes {above / MIB:.0f} MiB"

    def thumbnail(self, who, media):
        answer = who.read(media, query="?thumbnail=320")
        check(answer.status == 200, f"the thumbnail at {who.home}: {answer.status} {answer.text[:100]}")
        small = Image.open(io.BytesIO(answer.body))
        check(not small.getexif() and b"Exif" not in answer.body, f"the thumbnail at {who.home} has EXIF")
        check(answer.headers["Content-Type"] == Image.MIME[small.format], f"{dict(answer.headers)}")
        return small.convert("RGB")

    # 8. Sound.

    def sound(self):
        """How long it is: at its home, and of a copy at another."""
        content = recording(1.5)
        media, message = self.sent(content, "voice.wav")
        check(media["mime"] == "audio/wav", f"a WAV is told as {media}")
        check(media.get("duration_ms") == 1500 and "width" not in media, f"1.5 s are told as {media}")
        copy = self.bob.call("media.copy", **message, op=str(uuid.uuid4()))["media"]
        check(copy.get("duration_ms") == 1500, f"a copy of {media} is {copy}")
        media, _ = self.sent(content[:30], "cut.wav")
        check("duration_ms" not in media, f"a WAV without sound is told as {media}")
        check(self.bob.read(media).body == content[:30], "a WAV without sound cannot be read")

    # 9. Copies.

    def copies(self):
        """Whoever sends a file on holds it."""
        content = secrets.token_bytes(2 * MIB)
        media, message = self.sent(content, "to send on.bin")
        op = str(uuid.uuid4())
        copy = self.bob.call("media.copy", **message, op=op)["media"]
        check(copy["home"] == OTHER and copy["id"] != media["id"], f"a copy of {media} is {copy}")
        same = {key: copy[key] for key in ("hash", "size", "name", "mime")}
        check(same == {key: media[key] for key in same}, f"a copy of {media} is {copy}")
        again = self.bob.call("media.copy", **message, op=op)["media"]
        check(again == copy, f"the same op made another copy: {again}")
        refused = self.refusal(self.carol, "media.copy", **message)
        check(refused == -32004, f"a stranger copies: {refused}")
        forwarded = self.bob.share(self.carol.address, copy)
        self.carol.await_message(forwarded)
        self.stop(HOME)
        answer = self.carol.read(copy)
        check(answer.status == 200 and answer.body == content, f"sent on, with the first home away: {answer.status} {answer.text[:100]}")
        check(blake3(answer.body).hexdigest() == media["hash"], "sent on, it is another file")


def photograph():
    """A JPEG as telephones make it, lying on its side, with where it was taken; and how it must look."""
    image = Image.new("RGB", (800, 600), "white")
    draw = ImageDraw.Draw(image)
    for box, colour in (
        ((0, 0, 400, 300), "red"),
        ((400, 0, 800, 300), "green"),
        ((0, 300, 400, 600), "blue"),
        ((400, 300, 800, 600), "yellow"),
    ):
        draw.rectangle(box, fill=colour)
    # Each time another file.
    draw.text((390, 290), secrets.token_hex(8), fill="black")
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Telephone"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 30.0), 3: "E", 4: (16.0, 22.0, 23.0)})
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=90)
    content = file.getvalue()
    read = Image.open(io.BytesIO(content))
    check(read.getexif().get_ifd(0x8825) and read.getexif()[0x0112] == 6, "the test's photo has no EXIF")
    return content, ImageOps.exif_transpose(read)


def recording(seconds):
    """A WAV as Python writes it, of noise: each time another file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(secrets.token_bytes(int(seconds * 16_000) * 4))
    return file.getvalue()


def same_colours(one, other):
    """In the middle of each quarter."""

    def near(x, y):
        pixels = [image.getpixel((int(image.width * x), int(image.height * y))) for image in (one, other)]
        return all(abs(a - b) < 40 for a, b in zip(*pixels, strict=True))

    return all(near(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75))


def png_bomb(edge):
    """A few bytes that claim to be a huge image."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", edge, edge, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    tag = chunk(b"tEXt", b"n\0" + secrets.token_hex(8).encode())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + tag + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
