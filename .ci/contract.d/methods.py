"""Every method that `rpc.discover` lists is called, rightly and wrongly, and nothing else is there."""

import asyncio
import secrets
import time
import urllib.parse
import uuid

import jsonschema_rs

from network import PASSWORD, ROOT, Refused, check, request

HOME, OTHER = "acme.test", "globex.test"
ALICE, CAROL, BOB = f"alice@{HOME}", f"carol@{HOME}", f"bob@{OTHER}"
NOWHERE = "00000000-0000-7000-8000-000000000000"

# Method → wrong parameters, each refused with -32602. The right ones are in `call_all`.
WRONG = {
    "session.open": {"since": "not a place"},
    "channels.list": {"limit": 101},
    "channels.get": {"channel": "no id"},
    "channels.open": {"with": "Bób@acme.test"},
    "channels.update": {"channel": NOWHERE},
    "requests.accept": {"channel": "no id"},
    "requests.decline": {},
    "messages.list": {"channel": NOWHERE, "before": 1, "after": 1},
    "messages.get": {"channel": NOWHERE},
    "messages.send": {"to": BOB, "body": {"type": "text"}},
    "messages.hide": {"channel": NOWHERE},
    "messages.search": {"query": " ... "},
    "receipts.delivered": {"channel": NOWHERE, "pos": -1},
    "receipts.read": {"channel": NOWHERE, "pos": "1"},
    "receipts.get": {"id": NOWHERE},
    "groups.create": {"name": "n", "members": ["bob"]},
    "groups.invite": {"channel": NOWHERE, "users": []},
    "groups.remove": {"channel": NOWHERE},
    "groups.join": {"channel": "no id"},
    "groups.link": {"channel": NOWHERE, "uses": 0},
    "groups.unlink": {"link": "homing:join/nothing"},
    "groups.leave": {},
    "groups.update": {"channel": NOWHERE},
    "groups.members": {"channel": 7},
    "groups.fork": {"channel": ""},
    "users.get": {"address": "alice"},
    "users.search": {"query": "x" * 100 * 1024},
    "users.update": {"privacy": {"groups": "nobody"}},
    "presence.watch": {"users": [BOB, "bob"]},
    "presence.unwatch": {},
    "typing.set": {"channel": NOWHERE, "typing": "yes"},
    "media.get": {"id": "no id"},
    "media.copy": {"channel": NOWHERE},
    "media.url": {"channel": NOWHERE, "id": NOWHERE, "thumbnail": 0},
    "contacts.list": {"limit": 1001},
    "contacts.add": {"user": "bob"},
    "contacts.remove": {},
    "blocks.list": {"limit": 0},
    "blocks.add": {"user": "Bób@acme.test"},
    "blocks.remove": {"user": BOB, "op": "no id"},
    "devices.list": [],
    "devices.rename": {"device": NOWHERE, "name": 7},
    "devices.revoke": {"device": "no id"},
    "account.password": {"old": "short", "new": "short"},
    "account.delete": {"password": 7},
    "rpc.discover": ["by", "place"],
}

# Called here where they are refused alone: what they are for needs a home that is gone for good, or one that makes strangers wait.
# The tests of real homes have it (testnet/tests/homes/groups.rs, requests.rs).
ELSEWHERE = {"groups.fork", "requests.decline"}

# The type of a piece of an upload.
PIECE = "application/offset+octet-stream"

# What the contract names beside these. A name here is not built: it stands in no document.
LATER = """push.key push.subscribe push.unsubscribe""".split()


def uuid7():
    number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))


def run(networks):
    network = networks.get()
    calls = http_calls(network)
    methods = asyncio.run(websocket(network))
    return f"{methods} methods and {calls} HTTP calls"


async def websocket(network):
    alice, carol, bob = [await network.open(address) for address in (ALICE, CAROL, BOB)]
    document = await alice.result("rpc.discover")
    check(document == request(f"{network.http(HOME)}/v1/openrpc.json").json(), "rpc.discover and /v1/openrpc.json differ")
    names = [method["name"] for method in document["methods"]]
    check(len(set(names)) == len(names), "a method is listed twice")
    new = set(names) - WRONG.keys()
    check(
        not new,
        f"listed, and called by nobody: {sorted(new)}; call it in {__file__.removeprefix(str(ROOT) + '/')} (WRONG and call_all)",
    )
    check(not WRONG.keys() - set(names), f"called here, but not listed: {sorted(WRONG.keys() - set(names))}")

    called = Called(document)
    await call_all(called, network, alice, carol, bob)
    missing = set(names) - called.names - ELSEWHERE
    check(not missing, f"never called successfully: {sorted(missing)}")

    for name, params in WRONG.items():
        for wrong in (params, ["by", "place"]):
            answer, _ = await alice.call(name, wrong)
            code = answer.get("error", {}).get("code")
            check(code == -32602, f"{name} {wrong}: expected -32602, came {answer}")
            check(answer["error"]["data"]["reason"], f"{name}: no data.reason in {answer}")
    for name in [name for name in LATER if name not in names] + ["no.such", "", "Session.open"]:
        answer, _ = await alice.call(name, {})
        check(answer.get("error", {}).get("code") == -32601, f"{name}: expected -32601, came {answer}")
    # All of that has not hurt the socket.
    await alice.result("channels.list")
    for sock in (alice, carol, bob):
        await sock.close()
    return len(names)


class Called:
    """Calls methods and holds their results against the document."""

    def __init__(self, document):
        self.names = set()
        self.notified = set()
        schemas = document["components"]
        self.results = {
            method["name"]: jsonschema_rs.validator_for({**method["result"]["schema"], "components": schemas})
            for method in document["methods"]
        }
        self.notices = {
            notice["name"]: jsonschema_rs.validator_for({**notice["params"], "components": schemas})
            for notice in document["x-notifications"]
        }

    async def call(self, sock, name, /, **params):
        result = await sock.result(name, **params)
        self.hold(self.results[name], name, result)
        self.names.add(name)
        return result

    async def notice(self, sock, name, accept):
        params = await sock.notice(name, accept)
        self.hold(self.notices[name], f"notification {name}", params)
        check("sync" in params, f"a notification {name} without sync: {params}")
        return params

    @staticmethod
    def hold(validator, name, value):
        faults = [error.message for error in validator.iter_errors(value)]
        check(not faults, f"{name} is not what its document says: {faults[:3]}\n{value}")


async def call_all(called, network, alice, carol, bob):
    """Each once, and that its result is the right one."""
    called.hold(called.results["session.open"], "session.open", alice.opened)
    opened = await called.call(alice, "session.open", token=network.log_in(ALICE))
    check(opened["user"]["address"] == ALICE, f"signed in as {opened['user']}")
    check(opened["channels"] == [] and opened["more"] is False, "session.open without since lists channels")
    await called.call(alice, "rpc.discover")

    known = await called.call(alice, "users.get", address=BOB)
    check(known["address"] == BOB, f"users.get told of {known}")
    await called.call(alice, "users.get", address=CAROL)

    channel = (await called.call(alice, "channels.open", **{"with": BOB}))["channel"]
    again = await called.call(alice, "channels.open", **{"with": BOB})
    check(again["channel"] == channel, "one chat, two channels")
    text, message_id = {"type": "text", "text": f"methods {uuid7()}"}, uuid7()
    sent = await called.call(alice, "messages.send", channel=channel, id=message_id, body=text)
    check(sent["id"] == message_id and sent["channel"] == channel, f"sent {sent}")
    repeated = await called.call(alice, "messages.send", to=BOB, id=message_id, body=text)
    check(repeated == sent, f"the same id, another answer: {sent} {repeated}")
    try:
        await alice.result("messages.send", channel=channel, id=message_id, body={"type": "text", "text": "other"})
    except Refused as refused:
        check((refused.code, refused.reason) == (-32008, "id_reused"), str(refused))
    else:
        check(False, "an id was taken twice with different bodies")

    arrived = await called.notice(bob, "message", lambda params: params["id"] == message_id)
    check(arrived["body"] == text and arrived["order"] == sent["order"], f"arrived {arrived}, sent {sent}")
    check(arrived["channel"] == channel, "the chat has another id at the other home")
    pos = arrived["pos"]

    page = await called.call(bob, "messages.list", channel=channel)
    check(page["messages"][-1]["id"] == message_id, f"the latest is {page['messages'][-1:]}")
    got = await called.call(bob, "messages.get", channel=channel, id=message_id, sender=ALICE)
    check(got == page["messages"][-1], "messages.get and messages.list differ")
    view = await called.call(bob, "channels.get", channel=channel)
    check(view["unread"] >= 1 and view["with"] == ALICE, f"bob sees {view}")
    since = (await called.call(bob, "channels.list"))["sync"]

    check(await called.call(bob, "receipts.delivered", channel=channel, pos=pos) == {}, "receipts.delivered returns {}")
    told = await called.notice(alice, "receipt", lambda params: params["delivered"] >= sent["pos"])
    check(told["user"] == BOB and told["channel"] == channel, f"alice was told {told}")
    check(await called.call(bob, "receipts.read", channel=channel, pos=pos) == {}, "receipts.read returns {}")
    await called.notice(alice, "receipt", lambda params: params["read"] >= sent["pos"])
    receipts = (await called.call(alice, "receipts.get", channel=channel, id=message_id))["receipts"]
    check(
        [(row["user"], row["delivered"], row["read"]) for row in receipts] == [(BOB, True, True)],
        f"receipts.get told {receipts}",
    )
    view = await called.call(bob, "channels.get", channel=channel)
    check(view["unread"] == 0 and view["read"] >= pos, f"after reading bob sees {view}")

    await changes(called, alice, bob, channel)
    await files(called, network, alice, bob, channel)

    # At one home, and back in by `since`: exactly what changed.
    sent = await called.call(alice, "messages.send", to=CAROL, body={"type": "x.test.note", "n": 9007199254740991})
    arrived = await called.notice(carol, "message", lambda params: params["id"] == sent["id"])
    check(arrived["body"]["n"] == 9007199254740991, f"2^53-1 became {arrived}")
    again = await network.open(BOB, since=since)
    called.hold(called.results["session.open"], "session.open", again.opened)
    changed = [row["channel"] for row in again.opened["channels"]]
    check(changed == [channel], f"changed since: {changed}, expected {channel}")
    await again.close()

    await own_view(called, network, alice, channel)
    await groups(called, alice, carol)
    await presence(called, alice, carol)
    await people(called, network, alice, carol)

    # Nothing of it is anybody else's.
    for name, params in (
        ("channels.get", {}),
        ("channels.update", {"pinned": True}),
        ("requests.accept", {}),
        ("requests.decline", {}),
        ("messages.list", {}),
        ("messages.get", {"id": message_id}),
        ("messages.send", {"body": {"type": "text", "text": "let me in"}}),
        ("typing.set", {"typing": True}),
        ("receipts.read", {"pos": 1}),
        ("receipts.delivered", {"pos": 1}),
        ("receipts.get", {"id": message_id}),
    ):
        answer, _ = await carol.call(name, {"channel": channel, **params})
        check(answer.get("error", {}).get("code") == -32004, f"{name} in a foreign channel: {answer}")


async def files(called, network, alice, bob, channel):
    """A file of alice's: named, sent, read by a link, and copied by bob at the other home."""
    base, data = network.http(HOME), f"methods {uuid7()}".encode()
    headers = {"Authorization": f"Bearer {network.log_in(ALICE)}", "Tus-Resumable": "1.0.0"}
    headers |= {"Upload-Length": str(len(data)), "Content-Type": PIECE}
    answer = request(f"{base}/v1/media", data, headers=headers)
    check(answer.status == 201, f"an upload: expected 201, came {answer.status} {answer.text}")
    media = (await called.call(alice, "media.get", id=answer.headers["Homing-Media"]))["media"]
    check((media["size"], media["home"]) == (len(data), HOME), f"media.get told of {media}")
    sent = await called.call(alice, "messages.send", channel=channel, body={"type": "media", "media": media})
    await called.notice(bob, "message", lambda params: params["id"] == sent["id"])
    link = await called.call(alice, "media.url", channel=channel, id=sent["id"])
    answer = request(urllib.parse.urljoin(f"{base}/", link["url"]))
    check(answer.text == data.decode(), f"the link led to {answer.status} {answer.text}")
    copied = (await called.call(bob, "media.copy", channel=channel, id=sent["id"], sender=ALICE))["media"]
    check(copied["hash"] == media["hash"] and copied["home"] != HOME, f"bob copied {copied}")


async def changes(called, alice, bob, channel):
    """Edits, reactions, deletions and hiding, at both homes of a chat."""
    async def said(text):
        sent = await called.call(alice, "messages.send", channel=channel, body={"type": "text", "text": text})
        await called.notice(bob, "message", lambda params: params["id"] == sent["id"])
        return {"id": sent["id"], "sender": ALICE}

    async def seen(socket, of, is_so, what):
        arrived = await called.notice(socket, "message", lambda params: params["id"] == of["id"] and is_so(params))
        listed = (await called.call(socket, "messages.list", channel=channel))["messages"]
        stored = [row for row in listed if row["id"] == of["id"]]
        check(stored and all(stored[0].get(key) == arrived.get(key) for key in ("body", "edited_at", "reactions")),
              f"{what}: told {arrived}, listed {stored}")
        return arrived

    of, words = await said("helo"), {"type": "text", "text": "hello"}
    unread = (await called.call(bob, "channels.get", channel=channel))["unread"]
    await called.call(alice, "messages.send", channel=channel, body={"type": "edit", "of": of, "body": words})
    edited = await seen(bob, of, lambda params: params["body"] == words, "an edit")
    check(edited["edited_at"] >= edited["sent_at"], f"edited when? {edited}")
    thumb = {"type": "reaction", "of": of, "emoji": "\U0001f44d", "on": True}
    await called.call(bob, "messages.send", channel=channel, body=thumb)
    one = {"emoji": "\U0001f44d", "count": 1}
    liked = await seen(alice, of, lambda params: params.get("reactions"), "a reaction")
    check(liked["reactions"] == [{**one, "mine": False}], f"alice sees {liked}")
    mine = await called.call(bob, "messages.get", channel=channel, id=of["id"], sender=ALICE)
    check(mine["reactions"] == [{**one, "mine": True}], f"bob sees {mine}")
    check((await called.call(bob, "channels.get", channel=channel))["unread"] == unread, "a change was unread")

    async def refused(socket, code, reason, body):
        try:
            await socket.result("messages.send", channel=channel, body=body)
        except Refused as told:
            check((told.code, told.reason) == (code, reason), f"{body}: {told}")
        else:
            check(False, f"taken: {body}")

    await refused(bob, -32003, "not_yours", {"type": "edit", "of": of, "body": words})
    await refused(bob, -32003, "not_yours", {"type": "delete", "of": of})
    await refused(bob, -32602, "not_emoji", {**thumb, "emoji": "ok"})
    await refused(bob, -32004, "message_not_found", {**thumb, "of": {"id": NOWHERE, "sender": ALICE}})
    await refused(bob, -32602, "mention_of_stranger", {"type": "text", "text": "x", "mentions": [CAROL]})
    await called.call(alice, "messages.send", channel=channel, body={"type": "delete", "of": of})
    gone = await seen(bob, of, lambda params: params["body"] == {"type": "deleted"}, "a deletion")
    check("reactions" not in gone and "edited_at" not in gone, f"something is left of {gone}")
    check((await called.call(bob, "channels.get", channel=channel))["unread"] == unread - 1, "it is still unread")
    await refused(bob, -32004, "message_deleted", thumb)

    of = await said("for alice alone")
    check(await called.call(bob, "messages.hide", channel=channel, id=of["id"]) == {}, "messages.hide returns {}")
    listed = (await called.call(bob, "messages.list", channel=channel))["messages"]
    check(all(row["id"] != of["id"] for row in listed), "bob is shown what bob has hidden")
    listed = (await called.call(alice, "messages.list", channel=channel))["messages"]
    check(any(row["id"] == of["id"] for row in listed), "alice is not shown what bob has hidden")
    await search(called, alice, bob, channel, said)


async def search(called, alice, bob, channel, said):
    """Messages are found by their words about a second after they were stored, by those who are shown them, page by page."""
    word = f"needle{secrets.token_hex(6)}"
    ids = [(await said(f"{word} Caf\u00e9 {n}"))["id"] for n in range(3)]

    async def found(sock, query, **more):
        return [row["id"] for row in (await called.call(sock, "messages.search", query=query, **more))["messages"]]

    for sock in (alice, bob):
        until = time.monotonic() + 20
        while (there := await found(sock, f"cafe {word[:8]}")) != ids[::-1]:
            check(time.monotonic() < until, f"found {there}, wanted {ids[::-1]}")
            await asyncio.sleep(0.1)
    pages, cursor = [], {}
    while True:
        page = await called.call(alice, "messages.search", query=word, channel=channel, limit=2, **cursor)
        pages += [row["id"] for row in page["messages"]]
        if "cursor" not in page:
            break
        cursor = {"cursor": page["cursor"]}
    check(pages == ids[::-1], f"pages hold {pages}")
    for params, code, reason in (
        ({"query": "x" * 100 * 1024}, -32006, "query_too_large"),
        ({"query": word, "channel": NOWHERE}, -32004, "channel_not_found"),
        ({"query": word, "cursor": "no cursor"}, -32602, "bad_cursor"),
    ):
        answer, _ = await alice.call("messages.search", params)
        error = answer.get("error", {})
        check((error.get("code"), error.get("data", {}).get("reason")) == (code, reason), f"messages.search: {answer}")


async def own_view(called, network, alice, channel):
    """How a user sees a channel: on all devices, until it is taken away."""
    wish = {"muted_until": 2**53 - 1, "archived": True, "pinned": True, "draft": "unsaid", "marked_unread": True}
    seen = await called.call(alice, "requests.accept", channel=channel)
    check(seen["state"] == "active", f"requests.accept of what is accepted told {seen}")
    answer, _ = await alice.call("requests.decline", {"channel": channel})
    error = answer.get("error", {})
    check((error.get("code"), error.get("data", {}).get("reason")) == (-32008, "not_a_request"), f"requests.decline: {answer}")
    phone = await network.open(ALICE)
    seen = await called.call(alice, "channels.update", channel=channel, op=uuid7(), **wish)
    check({name: seen.get(name) for name in wish} == wish, f"channels.update told {seen}")
    told = await called.notice(phone, "channel", lambda params: params["channel"] == channel and "draft" in params)
    check({name: told.get(name) for name in wish} == wish, f"the other device was told {told}")
    for archived, there in ((True, True), (False, False), (None, True)):
        page = await phone.result("channels.list", **({} if archived is None else {"archived": archived}))
        check((channel in [row["channel"] for row in page["channels"]]) == there, f"archived {archived}: {page}")
    for wrong, code, reason in (
        ({"muted_until": 1}, -32602, "muted_until_past"),
        ({"muted_until": 2**53}, -32602, "number_out_of_range"),
        ({"draft": "x" * (16 * 1024 + 1)}, -32009, "draft_too_long"),
    ):
        answer, _ = await alice.call("channels.update", {"channel": channel, **wrong})
        error = answer.get("error", {})
        check((error.get("code"), error.get("data", {}).get("reason")) == (code, reason), f"channels.update {wrong}: {answer}")
    seen = await phone.result("channels.update", channel=channel, **dict.fromkeys(wish))
    check(not wish.keys() & seen.keys(), f"null did not take away: {seen}")
    await phone.close()


async def groups(called, alice, carol):
    """A group of one home, from its making to its last member."""
    group_id = uuid7()
    group = await called.call(alice, "groups.create", name="contract", members=[CAROL], id=group_id)
    check((group["channel"], group["kind"], group["role"]) == (group_id, "group", "owner"), f"groups.create told {group}")
    again = await called.call(alice, "groups.create", name="contract", members=[CAROL], id=group_id)
    check(again["channel"] == group_id, f"groups.create again told {again}")
    joined = await called.call(carol, "groups.join", channel=group_id)
    check((joined["state"], joined["role"]) == ("active", "member"), f"groups.join told {joined}")
    sent = await carol.result("messages.send", channel=group_id, body={"type": "text", "text": "hello"})
    page = await alice.result("messages.list", channel=group_id)
    check([m["id"] for m in page["messages"]] == [sent["id"]], f"the group lists {page}")
    members = await called.call(carol, "groups.members", channel=group_id)
    roles = {row["user"]: row["role"] for row in members["members"]}
    check(roles == {ALICE: "owner", CAROL: "member"}, f"groups.members told {members}")
    changed = await called.call(alice, "groups.update", channel=group_id, name="contracts", roles={CAROL: "admin"})
    check(changed["name"] == "contracts" and changed["roster"] > group["roster"], f"groups.update told {changed}")
    told = await called.call(carol, "groups.invite", channel=group_id, users=[CAROL, "x@nowhere.test"])
    check([row["ok"] for row in told["results"]] == [True, False], f"groups.invite told {told}")
    for name, params, code, reason in (
        ("groups.remove", {"users": [ALICE]}, None, "not_allowed"),
        ("groups.update", {"name": ""}, -32602, "invalid_name"),
        ("groups.update", {"avatar": {"id": NOWHERE}}, -32004, "media_not_found"),
        ("groups.fork", {}, -32008, "own_group"),
        ("groups.create", {"name": "n", "members": [ALICE]}, -32602, "with_self"),
        ("groups.create", {"name": "n", "members": [f"u{n}@{OTHER}" for n in range(100)]}, -32009, "group_full"),
    ):
        answer, _ = await carol.call(name, {"channel": group_id, **params}) if name != "groups.create" else await alice.call(name, params)
        if code is None:
            check(answer["result"]["results"][0]["reason"] == reason, f"{name}: {answer}")
        else:
            error = answer.get("error", {})
            check((error.get("code"), error.get("data", {}).get("reason")) == (code, reason), f"{name}: {answer}")
    told = await called.call(alice, "groups.remove", channel=group_id, users=[CAROL])
    check(told["results"] == [{"user": CAROL, "ok": True}], f"groups.remove told {told}")
    answer, _ = await carol.call("messages.send", {"channel": group_id, "body": {"type": "text", "text": "x"}})
    check(answer.get("error", {}).get("code") == -32003, f"whoever was removed writes on: {answer}")
    made = await called.call(alice, "groups.link", channel=group_id, uses=1)
    joined = await called.call(carol, "groups.join", link=made["link"])
    check((joined["channel"], joined["state"]) == (group_id, "active"), f"groups.join by a link told {joined}")
    made = await called.call(alice, "groups.link", channel=group_id)
    check(await called.call(alice, "groups.unlink", link=made["link"]) == {}, "groups.unlink returns {}")
    answer, _ = await alice.call("groups.unlink", {"link": made["link"]})
    error = answer.get("error", {})
    check((error.get("code"), error.get("data", {}).get("reason")) == (-32004, "link_not_found"), f"groups.unlink again: {answer}")
    await called.call(alice, "groups.remove", channel=group_id, users=[CAROL])
    check(await called.call(alice, "groups.leave", channel=group_id) == {}, "groups.leave returns {}")
    check((await alice.result("channels.get", channel=group_id))["state"] == "left", "alice has not left")


async def presence(called, alice, carol):
    """Who is there, as far as they let it be seen, and who types."""
    watched = await called.call(carol, "presence.watch", users=[ALICE, BOB])
    hidden = [{"user": user, "online": False} for user in (ALICE, BOB)]
    check(watched == {"presence": hidden}, f"presence.watch of those who do not know carol told {watched}")
    await alice.result("contacts.add", user=CAROL)
    told = await called.notice(carol, "presence", lambda params: params["user"] == ALICE)
    check(told["online"] is True, f"carol was told {told}")
    known = await carol.result("users.get", address=ALICE)
    check(known.get("presence", {}).get("online") is True, f"users.get told {known}")
    await alice.result("contacts.remove", user=CAROL)
    await called.notice(carol, "presence", lambda params: params["user"] == ALICE and not params["online"])
    check(await called.call(carol, "presence.unwatch", users=[ALICE, BOB]) == {"presence": []}, "presence.unwatch")
    for users, code, reason in (
        ([f"u{n}@{OTHER}" for n in range(501)], -32009, "too_many_watched"),
        ([f"nobody-there@{HOME}"], -32004, "user_not_found"),
        (["x@nowhere.test"], -32004, "unknown_home"),
    ):
        answer, _ = await carol.call("presence.watch", {"users": users})
        came = (answer.get("error", {}).get("code"), answer.get("error", {}).get("data", {}).get("reason"))
        check(came == (code, reason), f"presence.watch: {answer}")

    chat = (await alice.result("channels.open", **{"with": CAROL}))["channel"]
    check(await called.call(alice, "typing.set", channel=chat, typing=True) == {}, "typing.set returns {}")
    told = await called.notice(carol, "typing", lambda params: params["channel"] == chat)
    check((told["user"], told["typing"]) == (ALICE, True), f"carol was told {told}")


async def people(called, network, alice, carol):
    """Lists of others, what is said of oneself, and the end of an account."""
    for name, user in (("contacts", BOB), ("blocks", f"mallory@{OTHER}")):
        check(await called.call(alice, f"{name}.add", user=user, op=uuid7()) == {}, f"{name}.add returns {{}}")
        check(await called.call(alice, f"{name}.add", user=user) == {}, f"{name}.add again returns {{}}")
        listed = await called.call(alice, f"{name}.list")
        check(listed == {"users": [user]}, f"{name}.list told {listed}")
        check(await called.call(alice, f"{name}.remove", user=user) == {}, f"{name}.remove returns {{}}")
        check((await called.call(alice, f"{name}.list"))["users"] == [], f"{name}.remove did not remove")
        for user, code, reason in (
            (ALICE, -32602, "oneself"),
            (f"nobody-there@{HOME}", -32004, "user_not_found"),
            ("x@nowhere.test", -32004, "unknown_home"),
        ):
            answer, _ = await alice.call(f"{name}.add", {"user": user})
            came = (answer.get("error", {}).get("code"), answer.get("error", {}).get("data", {}).get("reason"))
            check(came == (code, reason), f"{name}.add {user}: {answer}")

    # What is blocked is neither shown nor counted, and the sender sees no difference.
    await alice.result("blocks.add", user=CAROL)
    hidden = await carol.result("messages.send", to=ALICE, body={"type": "text", "text": "hidden"})
    view = await alice.result("channels.get", channel=hidden["channel"])
    check(view["unread"] == 0 and view.get("last", {}).get("id") != hidden["id"], f"alice sees {view}")
    page = await alice.result("messages.list", channel=hidden["channel"])
    check(all(m["id"] != hidden["id"] for m in page["messages"]), f"alice is shown {page}")
    await alice.result("blocks.remove", user=CAROL)

    before = (await alice.result("users.get", address=ALICE))["privacy"]
    said = await called.call(alice, "users.update", display_name="Alice", privacy={"groups": "everyone"})
    expected = ("Alice", {**before, "groups": "everyone"})
    check((said["display_name"], said["privacy"]) == expected, f"users.update told {said}")
    said = await called.call(alice, "users.update", privacy={"last_seen": "nobody", "read_receipts": False})
    shown = {"last_seen": "nobody", "read_receipts": False, "groups": "everyone"}
    check(said["privacy"] == shown, f"users.update told {said}")
    check((await carol.result("users.get", address=ALICE)).get("privacy") is None, "others see what alice lets others do")
    await alice.result("users.update", display_name="alice", privacy=before)

    found = await called.call(carol, "users.search", query="ALI")
    check(ALICE in [row["address"] for row in found["users"]], f"users.search told {found}")
    check((await carol.result("users.search", query=f"nobody {secrets.token_hex(8)}"))["users"] == [], "somebody is found by nothing")
    await devices(called, network, carol)

    user = f"gone-{secrets.token_hex(4)}@{HOME}"
    register = {"user": user.split("@")[0], "password": PASSWORD}
    check(request(f"{network.http(HOME)}/v1/register", register).status == 201, "registering failed")
    gone = await network.open(user)
    answer, _ = await gone.call("account.delete", {"password": "wrong password"})
    check(answer.get("error", {}).get("code") == -32003, f"account.delete with a wrong password: {answer}")
    check(await called.call(gone, "account.delete", password=PASSWORD) == {}, "account.delete returns {}")
    check(request(f"{network.http(HOME)}/v1/register", register).status == 409, "a deleted name was given again")
    answer, _ = await alice.call("users.get", {"address": user})
    check(answer.get("error", {}).get("code") == -32004, f"a deleted user is found: {answer}")


async def devices(called, network, other):
    """Where somebody is signed in, and a new password."""
    user = f"devices-{secrets.token_hex(4)}@{HOME}"
    register = {"user": user.split("@")[0], "password": PASSWORD}
    check(request(f"{network.http(HOME)}/v1/register", register).status == 201, "registering failed")
    here = await network.open(user)
    there = request(f"{network.http(HOME)}/v1/login", {**register, "device_name": "phone"}).json()["device"]
    rows = (await called.call(here, "devices.list"))["devices"]
    check([row["device"] for row in rows if not row["current"]] == [there], f"devices.list told {rows}")
    check(await called.call(here, "devices.rename", device=there, name="tablet") == {}, "devices.rename returns {}")
    rows = (await here.result("devices.list"))["devices"]
    check([row["name"] for row in rows if not row["current"]] == ["tablet"], f"devices.list told {rows}")
    for name in ("devices.rename", "devices.revoke"):
        answer, _ = await other.call(name, {"device": there, "name": "mine"})
        error = answer.get("error", {})
        check((error.get("code"), error.get("data", {}).get("reason")) == (-32004, "device_not_found"), f"{name}: {answer}")
    check(await called.call(here, "devices.revoke", device=there) == {}, "devices.revoke returns {}")
    rows = (await here.result("devices.list"))["devices"]
    check([row["current"] for row in rows] == [True], f"devices.list told {rows}")
    answer, _ = await here.call("account.password", {"old": "wrong password", "new": "battery staple"})
    error = answer.get("error", {})
    check((error.get("code"), error.get("data", {}).get("reason")) == (-32003, "bad_credentials"), f"account.password: {answer}")
    token = request(f"{network.http(HOME)}/v1/login", register).json()["token"]
    check(await called.call(here, "account.password", old=PASSWORD, new="battery staple") == {}, "account.password returns {}")
    answer = request(f"{network.http(HOME)}/v1/logout", method="POST", headers={"Authorization": f"Bearer {token}"})
    check(answer.status == 401, f"a token from before the new password: {answer.status}")
    check(request(f"{network.http(HOME)}/v1/login", register).status == 401, "the old password still signs in")
    await here.close()


def http_calls(network):
    """Every operation of the OpenAPI document, with the answer it is made for."""
    base = network.http(HOME)
    user = f"methods-{secrets.token_hex(4)}"
    token = None

    def log_out():
        return request(f"{base}/v1/logout", method="POST", headers={"Authorization": f"Bearer {token}"})

    upload = {}

    def tus(method, path, body=None, **headers):
        """A call about an upload. Where a new one is, is kept."""
        own = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = request(f"{base}{path}", body, method=method, headers=own)
        if answer.headers["Location"]:
            upload["at"] = answer.headers["Location"]
        return answer

    def read(method):
        file = f"{base}/v1/media/{HOME}/{upload['at'].rsplit('/', 1)[1]}"
        return request(file, method=method, headers={"Authorization": f"Bearer {token}"})

    def abandon():
        tus("POST", "/v1/media", Upload_Length="6")
        return tus("DELETE", upload["at"])

    register = {"user": user.upper(), "password": PASSWORD, "display_name": "Méthode"}
    calls = {
        "register": (201, lambda: request(f"{base}/v1/register", register)),
        "login": (200, lambda: request(f"{base}/v1/login", {"user": f"{user}@{HOME}", "password": PASSWORD})),
        "media_options": (204, lambda: request(f"{base}/v1/media", method="OPTIONS")),
        "media_create": (201, lambda: tus("POST", "/v1/media", Upload_Length="6")),
        "media_status": (200, lambda: tus("HEAD", upload["at"])),
        "media_append": (
            204,
            lambda: tus("PATCH", upload["at"], b"abc", Upload_Offset="0", Content_Type=PIECE),
        ),
        "media_override": (
            204,
            lambda: tus(
                "POST",
                upload["at"],
                b"def",
                Upload_Offset="3",
                Content_Type=PIECE,
                X_HTTP_Method_Override="PATCH",
            ),
        ),
        "media_read": (200, lambda: read("GET")),
        "media_look": (200, lambda: read("HEAD")),
        "media_abandon": (204, abandon),
        "logout": (204, log_out),
        "well_known": (200, lambda: request(f"{base}/.well-known/homing")),
        "openrpc": (200, lambda: request(f"{base}/v1/openrpc.json")),
        "openapi": (200, lambda: request(f"{base}/v1/openapi.json")),
        "healthz": (200, lambda: request(f"{base}/healthz")),
        "readyz": (200, lambda: request(f"{base}/readyz")),
        "welcome": (200, lambda: request(f"{base}/")),
    }
    document = request(f"{base}/v1/openapi.json").json()
    listed = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    check(listed == calls.keys(), f"listed and called differ: {sorted(listed ^ calls.keys())}")
    for name, (status, call) in calls.items():
        answer = call()
        check(answer.status == status, f"{name}: expected {status}, came {answer.status} {answer.text}")
        if name == "register":
            check(answer.json()["address"] == f"{user}@{HOME}", f"registered {answer.text}")
        if name == "login":
            token = answer.json()["token"]
        if name == "well_known":
            check(answer.headers["Access-Control-Allow-Origin"] == "*", "/.well-known/homing without CORS *")
            check(answer.json()["home"] == HOME, f"{answer.text} is not {HOME}")
    refusals = [
        ("logout", log_out(), 401, "bad_token"),
        ("register", request(f"{base}/v1/register", {"user": user, "password": PASSWORD}), 409, "user_exists"),
        ("register", request(f"{base}/v1/register", {"user": "а-cyrillic", "password": PASSWORD}), 422, "invalid_user"),
        ("register", request(f"{base}/v1/register", {"user": "short", "password": "1234567"}), 422, "weak_password"),
        ("login", request(f"{base}/v1/login", {"user": user, "password": "wrong password"}), 401, "bad_credentials"),
    ]
    for name, answer, status, code in refusals:
        came = (answer.status, answer.json()["error"]["code"])
        check(came == (status, code), f"{name}: expected {status} {code}, came {answer.status} {answer.text}")
    throttled(base, user)
    return len(calls)


def throttled(base, user):
    """Ten failures a minute for an account; others still get in. (One was made before.)"""
    for attempt in range(20):
        answer = request(f"{base}/v1/login", {"user": user, "password": "wrong password"})
        if answer.status == 429:
            check(int(answer.headers["Retry-After"]) > 0, "429 without Retry-After")
            check(attempt == 9, f"429 after {attempt + 1} failures, expected after 10")
            return
    check(False, "twenty wrong passwords, and no 429")
