"""Runs the examples of docs/CLIENTS.md as they are written.

What is run is marked by a comment that a reader of the page does not see, before the fence:

    <!-- run: shell -->            by bash; variables stay for the blocks after it
    <!-- run: python -->           by python3, with the same variables
    <!-- connect: NAME -->         a websocat line: the address and headers of NAME's socket
    <!-- run: websocket NAME -->   line by line: `→` is typed, `←` must come
    <!-- answer -->                what the block before must have printed

In answers `…` stands for whatever is there: a value after a colon, further members or elements anywhere
else, any text inside a string. A string such as "5f0c…" is a name as well: what it stood for first it
stands for everywhere, and it may be typed. `←` waits for an answer in turn; notifications that the page
does not show are passed over.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass

from websockets.asyncio.client import connect

from network import DOCUMENTED, PATIENCE_S, ROOT, Failed, check

PAGE = ROOT / "docs" / "CLIENTS.md"
MARK = re.compile(r"^<!-- (run|connect|answer)(?:: (.*?))? -->$")
# A block that takes longer hangs.
BLOCK_S = 60
ANY, MORE = "\x01any", "\x01more"


@dataclass
class Block:
    line: int
    kind: str
    about: str
    text: str


def run(networks):
    network = networks.get()
    text = PAGE.read_text()
    if network.base != DOCUMENTED:
        for offset in range(0, 10 * network.count, 10):
            text = text.replace(f"127.0.0.1:{DOCUMENTED + offset}", f"127.0.0.1:{network.base + offset}")
    blocks = list(read(text))
    kinds = {block.kind for block in blocks}
    check({"shell", "python", "websocket", "answer"} <= kinds, f"{PAGE.name} lost its marks: only {kinds}")
    page = Page(network.folder / "page")
    asyncio.run(page.play(blocks))
    elsewhere = "" if network.base == DOCUMENTED else f", at port {network.base} since {DOCUMENTED} is taken"
    return f"{page.ran} examples of {PAGE.name}{elsewhere}"


def read(text):
    """The marked blocks, in order."""
    lines = text.splitlines()
    mark = None
    index = 0
    while index < len(lines):
        line = lines[index]
        found = MARK.match(line)
        if found:
            check(mark is None, f"line {index + 1}: two marks in a row")
            mark = found
        elif line.startswith("```"):
            begin = index + 1
            index = next((n for n in range(begin, len(lines)) if lines[n].startswith("```")), len(lines))
            body = "\n".join(lines[begin:index])
            if mark:
                verb, rest = mark.group(1), mark.group(2) or ""
                kind, _, about = rest.partition(" ") if verb == "run" else (verb, "", rest)
                check(kind in ("shell", "python", "websocket", "connect", "answer"), f"line {begin}: what is {kind!r}?")
                yield Block(begin + 1, kind, about, body)
            else:
                check(not re.search(r"^[→←]", body, re.M), f"line {begin}: a transcript that nobody runs")
            mark = None
        elif line.strip():
            check(mark is None, f"line {index + 1}: a mark without a block after it")
        index += 1


class Page:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.variables = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
        self.printed = None
        self.doors = {}
        self.talks = {}
        self.names = {}
        self.ran = 0

    async def play(self, blocks):
        try:
            for block in blocks:
                try:
                    await self.block(block)
                except Failed as why:
                    raise Failed(f"{PAGE.relative_to(ROOT)}, line {block.line}: {why}") from None
        finally:
            for talk in self.talks.values():
                await talk.close()

    async def block(self, block):
        if block.kind == "answer":
            check(self.printed is not None, "an answer to nothing")
            compare(block.text, self.printed, self.names)
            self.printed = None
            return
        if block.kind == "connect":
            self.doors[block.about] = block.text
            return
        self.ran += 1
        if block.kind == "websocket":
            await self.talk(block)
        else:
            self.printed = await asyncio.to_thread(self.execute, block)

    def execute(self, block):
        state = self.folder / "variables"
        if block.kind == "shell":
            # Everything set is exported, and kept when the block has succeeded.
            script = f"set -euo pipefail -o allexport\n{block.text}\nenv -0 >'{state}'"
            command = ["bash", "-c", script]
        else:
            script = self.folder / "example.py"
            script.write_text(block.text)
            command = ["python3", script]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=BLOCK_S,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"still running after {BLOCK_S} s") from None
        check(done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
        if block.kind == "shell":
            pairs = state.read_text().split("\0")
            self.variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return done.stdout

    async def talk(self, block):
        name = block.about
        if name not in self.talks:
            check(name in self.doors, f"no command is shown by which {name} connects")
            self.talks[name] = await Talk.open(self.doors.pop(name), self.variables)
        elif name in self.doors:
            # The page connects anew.
            await self.talks[name].close()
            self.talks[name] = await Talk.open(self.doors.pop(name), self.variables)
        lines = []
        for number, line in enumerate(block.text.splitlines()):
            if line[:2] in ("→ ", "← "):
                lines.append([number, line[0], line[2:]])
            elif line.startswith("  ") and lines:
                lines[-1][2] += line.strip()
            else:
                check(not line.strip(), f"neither → nor ←: {line}")
        for number, arrow, text in lines:
            try:
                if arrow == "→":
                    await self.talks[name].ws.send(fill(text, self.names))
                else:
                    await self.talks[name].expect(text, self.names)
            except Failed as why:
                raise Failed(f"(+{number}) {why}") from None


class Talk:
    """One socket of the page."""

    @classmethod
    async def open(cls, command, variables):
        """By the words of a websocat command, as bash splits them."""
        split = subprocess.run(
            ["bash", "-uc", f"websocat() {{ printf '%s\\0' \"$@\"; }}; {command.splitlines()[0]}"],
            env=variables,
            capture_output=True,
            text=True,
        )
        check(split.returncode == 0, f"{command}: {split.stderr}")
        headers, url = {}, None
        for word in split.stdout.split("\0")[:-1]:
            if word.startswith("-H="):
                key, _, value = word[3:].partition(":")
                headers[key] = value.strip()
            elif word.startswith("ws://"):
                url = word
        check(url, f"no ws:// address in {command!r}")
        talk = cls()
        talk.ws = await connect(url, additional_headers=headers, compression=None, proxy=None)
        talk.aside = []
        return talk

    async def expect(self, text, names):
        pattern = parse(text)
        is_notice = isinstance(pattern, dict) and "method" in pattern
        if is_notice:
            for index, (raw, kept) in enumerate(self.aside):
                if matches(pattern, kept, dict(names)):
                    del self.aside[index]
                    return compare(text, raw, names)
        passed = []
        while True:
            try:
                raw = await asyncio.wait_for(self.ws.recv(), PATIENCE_S)
            except asyncio.TimeoutError:
                seen = "".join(f"\n  passed over: {line}" for line in passed)
                raise Failed(f"this did not come within {PATIENCE_S} s: {text}{seen}") from None
            except Exception as error:
                raise Failed(f"instead of {text}: {error}") from None
            message = json.loads(raw)
            if isinstance(message, dict) and "method" in message:
                if is_notice and matches(pattern, message, dict(names)):
                    return compare(text, raw, names)
                self.aside.append((raw, message))
                passed.append(raw)
                continue
            check(not is_notice, f"shown: {text}\ncame:  {raw}")
            return compare(text, raw, names)

    async def close(self):
        await self.ws.close()


def parse(text):
    """JSON with `…` outside of strings, as a pattern."""
    out, stack, last, index = [], [], "", 0
    while index < len(text):
        char = text[index]
        if char == '"':
            end = index + 1
            while text[end : end + 1] not in ('"', ""):
                end += 2 if text[end] == "\\" else 1
            out.append(text[index : end + 1])
            last, index = '"', end + 1
            continue
        if char == "…":
            in_object = stack and stack[-1] == "{" and last != ":"
            out.append('"\\u0001more":0' if in_object else '"\\u0001more"' if last != ":" else '"\\u0001any"')
        else:
            out.append(char)
        if char in "{[":
            stack.append(char)
        elif char in "}]" and stack:
            stack.pop()
        if not char.isspace():
            last = char
        index += 1
    try:
        return json.loads("".join(out))
    except ValueError as error:
        raise Failed(f"the page shows no JSON: {error}: {text}") from None


def matches(pattern, found, names):
    if pattern == ANY:
        return True
    if isinstance(pattern, dict):
        if not isinstance(found, dict):
            return False
        wanted = {key: value for key, value in pattern.items() if key != MORE}
        if wanted.keys() - found.keys() or (MORE not in pattern and found.keys() - wanted.keys()):
            return False
        return all(matches(value, found[key], names) for key, value in wanted.items())
    if isinstance(pattern, list):
        if not isinstance(found, list):
            return False
        open_end = bool(pattern) and pattern[-1] == MORE
        wanted = pattern[:-1] if open_end else pattern
        if len(found) < len(wanted) or (len(found) > len(wanted) and not open_end):
            return False
        return all(matches(*pair, names) for pair in zip(wanted, found))
    if isinstance(pattern, str) and "…" in pattern:
        if not isinstance(found, str):
            return False
        if pattern.endswith("…") and len(pattern) > 1 and pattern.count("…") == 1:
            return names.setdefault(pattern, found) == found
        return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), found, re.S) is not None
    return type(pattern) is type(found) and pattern == found


def compare(shown, came, names):
    """JSON as JSON, anything else as text."""
    if shown.lstrip()[:1] in ("{", "["):
        try:
            found = json.loads(came)
        except ValueError:
            raise Failed(f"shown: {shown}\ncame:  {came}") from None
        check(matches(parse(shown), found, names), f"shown: {shown}\ncame:  {came}")
        return
    wanted = ".*".join(map(re.escape, shown.strip().split("…")))
    check(re.fullmatch(wanted, came.strip(), re.S), f"shown: {shown}\ncame:  {came}")


def fill(text, names):
    """What is typed: with what the names stand for."""
    for name, value in names.items():
        text = text.replace(json.dumps(name, ensure_ascii=False), json.dumps(value, ensure_ascii=False))
    check('…"' not in text, f"nothing is known for a name in: {text}")
    return text
