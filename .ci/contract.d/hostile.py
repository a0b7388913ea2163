"""Text that must come back as it was, and frames that nobody should send; while others chat on."""

import asyncio
import json

from methods import uuid7
from network import Socket, check

HOME, OTHER = "acme.test", "globex.test"
ALICE, CAROL, BOB = f"alice@{HOME}", f"carol@{HOME}", f"bob@{OTHER}"
BODY, FRAME, BATCH = 65_536, 262_144, 32

TEXTS = {
    "emoji sequences": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇺🇳 1️⃣ ❤️ 🧑🏿‍🚀",
    "right to left": "שלום עולם — مرحبا بالعالم ‏(abc)‏ ‮backwards‬ ⁧isolated⁩",
    "combining marks": "e\u0301 \u00e9 n\u0303 \u00c5 A\u030a \u212b Z\u0338\u0321\u034a\u0357 \u1112\u1161\u11ab \ud55c \ufb01 \u210c",
    "spaces and controls": " \t\n\r\u0001\u001f\u007f\u00a0\u200b\ufeff\u2028\u2029 end ",
    "quotes and slashes": "\"\\/ \\u0041 </script> {}[] ' ` %00 $(x)",
    "noncharacters and the last plane": "\ufffe\uffff\U0010ffff\ufdd0 𝒳 𐍈",
}


def run(networks):
    return asyncio.run(Bytes(networks.get()).run())


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def text_of(size, filling="a"):
    """A text body of exactly so many bytes."""
    empty = len(compact({"type": "text", "text": ""}).encode())
    unit = len(filling.encode())
    count, rest = divmod(size - empty, unit)
    return {"type": "text", "text": filling * count + "a" * rest}


def sending(body, call_id='"odd"', **params):
    """A frame with this body as it is written here."""
    params = "".join(f',"{key}":{json.dumps(value)}' for key, value in params.items())
    return f'{{"jsonrpc":"2.0","id":{call_id},"method":"messages.send","params":{{"to":"{BOB}","body":{body}{params}}}}}'


class Bytes:
    def __init__(self, network):
        self.network = network
        self.tried = 0

    async def run(self):
        bystanders = Bystanders(self.network)
        await bystanders.start()
        self.alice = await self.network.open(ALICE)
        self.bob = await self.network.open(BOB)
        await self.texts()
        await self.refused_bodies()
        await self.refused_frames()
        await self.batches()
        await self.closing_frames()
        # Still the same socket, after all of it.
        await self.alice.result("channels.list")
        passed = await bystanders.stop()
        await self.alice.close()
        await self.bob.close()
        return f"{self.tried} cases, {passed} messages of others meanwhile"

    async def texts(self):
        bodies = {what: {"type": "text", "text": text} for what, text in TEXTS.items()}
        bodies["65,536 bytes"] = text_of(BODY)
        bodies["65,536 bytes of emoji"] = text_of(BODY, "👩‍👩‍👧‍👦")
        bodies["65,536 bytes of quotes"] = {"type": "text", "text": '"' * ((BODY - 25) // 2)}
        bodies["a type of one's own"] = {"type": "x.chess.move", "from": "e2", "n": -9007199254740991, "f": 0.1, "l": [None, {}]}
        for what, body in bodies.items():
            plain = compact(body)
            check(len(plain.encode()) <= BODY, f"{what}: the test's body is too large")
            # As it is, and with every character that can be written as an escape.
            for frame_body in {plain, json.dumps(body)} if len(json.dumps(body)) < FRAME - 1000 else {plain}:
                await self.there_and_back(what, plain, frame_body)

    async def there_and_back(self, what, plain, frame_body):
        self.tried += 1
        message_id = uuid7()
        answer = await self.alice.ask_raw(sending(frame_body, id=message_id), "odd")
        check("result" in answer, f"{what}: {str(answer)[:300]}")
        channel = answer["result"]["channel"]
        arrived = await self.bob.notice("message", lambda params: params["id"] == message_id)
        check(compact(arrived["body"]) == plain, f"{what}: bob was told something else")
        for sock, who in ((self.alice, "alice"), (self.bob, "bob")):
            _, raw = await sock.call("messages.get", {"channel": channel, "id": message_id, "sender": ALICE})
            check(f'"body":{plain}' in raw, f"{what}: not byte for byte at {who}: {raw[:300]}")

    async def refused_bodies(self):
        """By the call's id, the socket lives on, nothing is stored."""
        deep = '{"type":"x.deep","d":' + "[" * 10_000 + "]" * 10_000 + "}"
        over = text_of(BODY + 1)
        cases = [
            ("NUL", r'{"type":"text","text":"a\u0000b"}', -32602, "nul"),
            ("NUL in a name", r'{"type":"x.a","\u0000":1}', -32602, "nul"),
            ("a lone high surrogate", r'{"type":"text","text":"\ud83d"}', -32602, "lone_surrogate"),
            ("a lone low surrogate", r'{"type":"text","text":"\ude00 x"}', -32602, "lone_surrogate"),
            ("surrogates the wrong way round", r'{"type":"text","text":"\ude00\ud83d"}', -32602, "lone_surrogate"),
            ("2^53+1", '{"type":"x.a","n":9007199254740993}', -32602, "number_out_of_range"),
            ("2^53", '{"type":"x.a","n":9007199254740992}', -32602, "number_out_of_range"),
            ("-(2^53+1)", '{"type":"x.a","n":-9007199254740993}', -32602, "number_out_of_range"),
            ("1e400", '{"type":"x.a","n":1e400}', -32602, "number_out_of_range"),
            ("-1e400, deep inside", '{"type":"x.a","n":[{"m":-1e400}]}', -32602, "number_out_of_range"),
            ("65,537 bytes", compact(over), -32006, "body_too_large"),
            ("65,537 bytes of emoji", compact(text_of(BODY + 1, "😀")), -32006, "body_too_large"),
            ("10,000 deep", deep, -32602, "too_deep"),
            ("no type", '{"text":"a"}', -32602, None),
            ("an unknown type", '{"type":"notice"}', -32602, "unknown_body_type"),
            ("a body that is a text", '"hello"', -32602, None),
            ("a name twice", '{"type":"text","text":"a","text":"b"}', -32602, None),
        ]
        channel = (await self.alice.result("channels.open", **{"with": BOB}))["channel"]
        before = (await self.alice.result("channels.get", channel=channel))["head"]
        for what, body, code, reason in cases:
            self.tried += 1
            answer = await self.alice.ask_raw(sending(body), "odd")
            error = answer.get("error")
            check(error and error["code"] == code, f"{what}: expected {code}, came {str(answer)[:300]}")
            check(error["data"]["reason"] == (reason or error["data"]["reason"]), f"{what}: expected {reason}, came {error}")
            if code == -32006:
                check(error["data"]["limit"] == BODY, f"{what}: which limit? {error}")
        after = (await self.alice.result("channels.get", channel=channel))["head"]
        check(after == before, f"refused, and yet something was stored: {before} → {after}")

    async def refused_frames(self):
        """Not JSON-RPC: answered to no id, the socket lives on."""
        not_json = [
            ("broken JSON", '{"jsonrpc":"2.0","id":1,"method":"channels.list"'),
            ("no JSON", "hello"),
            ("an empty frame", ""),
            ("JSON and something", '{"jsonrpc":"2.0","id":1,"method":"channels.list"} {}'),
            ("a raw NUL", sending('{"type":"text","text":"a\x00b"}')),
            ("a raw line feed in a text", sending('{"type":"text","text":"a\nb"}')),
            ("10,000 brackets, none closed", "[" * 10_000),
            ("a half batch", '[{"jsonrpc":"2.0","id":1,"method":"channels.list"},'),
            ("NaN", sending('{"type":"x.a","n":NaN}')),
        ]
        no_call = [
            ("a number", "42"),
            ("an empty object", "{}"),
            ("the wrong version", '{"jsonrpc":"1.0","method":"channels.list"}'),
            ("an object 10,000 deep", '{"a":' * 10_000 + "1" + "}" * 10_000),
            ("an id that is an object", '{"jsonrpc":"2.0","id":{},"method":"channels.list"}'),
            ("an empty batch", "[]"),
        ]
        for code, cases in ((-32700, not_json), (-32600, no_call)):
            for what, frame in cases:
                self.tried += 1
                answer = await self.alice.ask_loose(frame)
                came = isinstance(answer, dict) and answer.get("error", {}).get("code")
                check(came == code and answer["id"] is None, f"{what}: expected {code}, came {str(answer)[:300]}")
                check(answer["error"]["data"]["reason"], f"{what}: no reason")
        self.tried += 1
        nested = await self.alice.ask_loose("[" * 10_000 + "]" * 10_000)
        codes = [row["error"]["code"] for row in nested] if isinstance(nested, list) else None
        check(codes == [-32600], f"arrays 10,000 deep: expected one -32600, came {str(nested)[:300]}")

    async def batches(self):
        channel = (await self.alice.result("channels.open", **{"with": BOB}))["channel"]

        def batch(count, tag):
            return [
                {
                    "jsonrpc": "2.0",
                    "id": f"{tag} {n}",
                    "method": "messages.send",
                    "params": {"channel": channel, "body": {"type": "text", "text": f"{tag} {n}"}},
                }
                for n in range(count)
            ]

        before = (await self.alice.result("channels.get", channel=channel))["head"]
        self.tried += 2
        answer = await self.alice.ask_loose(json.dumps(batch(BATCH + 1, "too long")))
        one = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
        error = one.get("error", {}) if isinstance(one, dict) else {}
        check(
            error.get("code") == -32600 and error["data"]["limit"] == BATCH and one["id"] is None,
            f"a batch of {BATCH + 1}: expected one -32600 with limit {BATCH}, came {str(answer)[:300]}",
        )
        answers = await self.alice.ask_loose(json.dumps(batch(BATCH, "batch")))
        by_id = {row["id"]: row["result"]["pos"] for row in answers}
        places = [by_id[f"batch {n}"] for n in range(BATCH)]
        # Nothing of the longer batch stands before the first of this one.
        check(places == list(range(before + 1, before + 1 + BATCH)), f"a batch of {BATCH} was stored at {places}, head was {before}")

    async def closing_frames(self):
        """The socket ends, with the right code; the home lives on."""
        padding = " " * (257 * 1024)
        cases = [
            ("a frame of 257 KiB", sending('{"type":"text","text":"a"}') + padding, True, 1009),
            ("a message of 257 KiB in fragments", [padding[: 64 * 1024]] * 5, True, 1009),
            ("invalid UTF-8", b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}', True, 1007),
            ("a surrogate in UTF-8", b'"\xed\xa0\xbd"', True, 1007),
            ("an overlong NUL in UTF-8", b'"\xc0\x80"', True, 1007),
        ]
        for what, frame, is_text, code in cases:
            self.tried += 1
            sock = await self.network.open(ALICE)
            try:
                await sock.ws.send(frame, text=is_text)
            except Exception:
                # Closed before all of it was written; the code tells.
                pass
            came = await sock.closed()
            check(came == code, f"{what}: closed with {came}, expected {code}")
        self.tried += 1
        # The largest frame that is allowed, and its neighbour's life goes on.
        sock = await self.network.open(ALICE)
        frame = '{"jsonrpc":"2.0","id":"full","method":"channels.list"}'
        answer = await sock.ask_raw(frame + " " * (FRAME - len(frame)), "full")
        check("result" in answer, f"a frame of 256 KiB: {answer}")
        await sock.close()
        self.tried += 1
        sock = Socket(self.network.ws(HOME))
        await sock.connect()
        answer = await sock.ask_raw('{"jsonrpc":"2.0","id":"first","method":"channels.list"}', "first")
        check(answer.get("error", {}).get("code") == -32001, f"before session.open: {answer}")
        came = await sock.closed()
        check(came == 4401, f"nobody signed in: closed with {came}, expected 4401")


class Bystanders:
    """Carol writes to bob all the while: each message is answered, arrives once and in order."""

    # One at a time with a breath between: a conversation, not a load.
    BREATH_S = 0.02

    def __init__(self, network):
        self.network = network
        self.sent = []
        self.stopping = asyncio.Event()

    async def start(self):
        self.carol = await self.network.open(CAROL)
        self.bob = await self.network.open(BOB)
        self.tag = uuid7()
        self.writing = asyncio.create_task(self.write())

    async def write(self):
        while not self.stopping.is_set():
            body = {"type": "text", "text": f"{self.tag} {len(self.sent)}"}
            sent = await self.carol.result("messages.send", to=BOB, body=body)
            self.sent.append(sent["id"])
            try:
                await asyncio.wait_for(self.stopping.wait(), self.BREATH_S)
            except asyncio.TimeoutError:
                pass

    async def stop(self):
        self.stopping.set()
        await self.writing
        arrived = []
        while len(arrived) < len(self.sent):
            notice = await self.bob.notice("message", lambda params: params["sender"] == CAROL)
            if notice["body"].get("text", "").startswith(self.tag):
                arrived.append(notice["id"])
        check(arrived == self.sent, "others were disturbed: messages came doubled or out of order")
        check(len(self.sent) > 20, f"others were disturbed: only {len(self.sent)} messages were answered")
        await self.carol.close()
        await self.bob.close()
        return len(self.sent)
