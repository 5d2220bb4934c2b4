"""Judges the programs of a document: programs.py TALLY DOCUMENT LANGUAGE [PACKAGES]

Each fenced program of that language runs as it stands there, but for the address, with an engine of its own. Events are posted, the engine
is killed once and started again, and more are posted before the program can reach it: it must print what the words behind its language
say, which nobody sees who reads the document. In `sh` each line is a program, and has a word of its own.

    events   each event, in order, none missing and none twice
    buys     the same of events of this type
    answers  answers, the last of which counts all events
    kept     it goes on where it stopped when it is ended and started again

PACKAGES is the folder with `node_modules`, for programs of pages.
"""

import asyncio
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from importlib.metadata import version

TALLY, DOCUMENT, LANGUAGE, *PACKAGES = sys.argv[1:]
# The address in the document.
ADDRESS = "127.0.0.1:8080"
CONFIG = "[log]\npartitions = 1\n"
WORDS = {"events", "buys", "answers", "kept"}
# Seconds: for what has to come, and for a whole program.
PATIENCE, LIMIT = 40, 100
# Events that are posted at once.
BATCH = 20


class Fault(Exception):
    """What ends the judge."""


def programs(document):
    """Each with its words."""
    for info, text in re.findall(r"^```(.*)\n([\s\S]*?)^```$", document, re.MULTILINE):
        language, *words = info.split()
        if language != LANGUAGE:
            continue
        whole = [(text, words)]
        if language == "sh":
            lines = text.splitlines(keepends=True)
            if len(lines) != len(words):
                raise Fault(f"{len(words)} words for {len(lines)} lines: {text}")
            whole = [(line, [word]) for line, word in zip(lines, words)]
        for program, its in whole:
            if not set(its) & (WORDS - {"kept"}) or set(its) - WORDS:
                raise Fault(f"{its} are not words for what it prints: {program}")
            yield program, set(its)


def command(text, folder, address):
    """How a program is run in its folder."""
    text = text.replace(ADDRESS, address)
    if LANGUAGE == "sh":
        (folder / "metrics.toml").write_text(f'[server]\nlisten = "{address}"\n')
        # As on a terminal, where each line is seen at once.
        return ["stdbuf", "-oL", "sh", "-euc", text]
    (folder / "program").write_text(text)
    if LANGUAGE == "python":
        return [sys.executable, "program"]
    return ["node", pathlib.Path(__file__).with_name("page.mjs"), *PACKAGES, address, "program"]


def environment():
    """With `tally` in the path, and nothing that leads it to another engine."""
    return {"HOME": "/nonexistent", "PATH": f"{os.path.dirname(TALLY)}:{os.environ['PATH']}"}


def printed(value):
    """The events and answers in a value that was printed: the number of an event, the total of an answer."""
    if type(value) is int:
        yield "answers", value
    elif isinstance(value, list):
        for one in value:
            yield from printed(one) if isinstance(one, (dict, list)) else ()
    elif isinstance(value, dict):
        if "event_type" in value:
            yield "events", value["user_id"]
        elif "total" in value:
            yield "answers", value["total"]
        else:
            yield from printed(list(value.values()))


class Engine:
    """An engine in a folder, behind an address that stays the same when it is started again."""

    def __init__(self, folder):
        self.folder, self.process, self.server = folder, None, None
        # Where connections are led; how many events were posted.
        self.at, self.posted = None, 0
        (folder / "metrics.toml").write_text(CONFIG)

    async def start(self):
        """Starts it; nobody can reach it yet."""
        with open(self.folder / "log", "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                TALLY, "run", "--listen", "127.0.0.1:0", cwd=self.folder, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=log
            )
        at = None
        async for line in self.process.stdout:
            if line.startswith(b"listening"):
                at = line.decode().split("http://")[1].strip()
            if line.startswith(b"ready"):
                return at
        raise Fault("the engine ended: " + (self.folder / "log").read_text()[-5000:])

    async def listen(self):
        """Takes connections, which end at once while there is no engine."""
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        return "{}:{}".format(*self.server.sockets[0].getsockname())

    async def accept(self, reader, writer):
        try:
            if self.at:
                ours, theirs = await asyncio.open_connection(*self.at.split(":"))
                await asyncio.gather(copy(reader, theirs), copy(ours, writer))
        except OSError:
            pass  # the program sees that its connection ends
        finally:
            writer.close()

    async def post(self, at, count):
        """Appends events, each of a user of its own: views and buys by turns."""
        numbers = range(self.posted, self.posted + count)
        events = [{"user_id": n, "product_id": n % 7, "event_type": ("view", "buy")[n % 2]} for n in numbers]
        body = "\n".join(map(json.dumps, events)).encode()
        headers = {"content-type": "application/x-ndjson"}
        request = urllib.request.Request(f"http://{at}/api/events", body, headers, method="POST")
        self.posted += count
        answer = await asyncio.to_thread(urllib.request.urlopen, request, timeout=PATIENCE)
        if (accepted := json.load(answer)["accepted"]) != count:
            raise Fault(f"{accepted} of {count} events were accepted")

    async def end(self):
        """As a crash would."""
        self.at = None
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def copy(reader, writer):
    """Passes on what comes, and its end."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


class Program:
    """A program, and what it has printed, also before it was started again."""

    def __init__(self, text, words, folder):
        self.text, self.words, self.folder = text, words, folder
        self.process, self.reading, self.lines = None, None, []
        self.events, self.answers = [], []
        self.news = asyncio.Event()

    async def start(self, address):
        self.process = await asyncio.create_subprocess_exec(
            *command(self.text, self.folder, address),
            cwd=self.folder,
            env=environment(),
            # Its own, so that all of a pipeline can be ended.
            process_group=0,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )
        self.reading = asyncio.create_task(self.read(self.process.stdout))

    async def read(self, stdout):
        is_first = bool(self.events)
        async for line in stdout:
            self.lines.append(line.decode())
            try:
                found = list(printed(json.loads(line)))
            except ValueError:
                found = []  # a word to who watches it
            for what, number in found:
                # It may have been ended after it printed an event and before it kept that.
                if what == "events" and not (is_first and number == self.events[-1]):
                    self.events.append(number)
                elif what == "answers":
                    self.answers.append(number)
                is_first = is_first and what != "events"
            self.news.set()

    def has_begun(self):
        return bool(self.events or not self.words & {"events", "buys"}) and bool(self.answers or "answers" not in self.words)

    def has_all(self, posted):
        """Whether it has printed what it must; ends the judge where it cannot any more."""
        if self.words & {"events", "buys"}:
            wanted = [n for n in range(self.events[0], posted) if n % 2 or "events" in self.words]
            if self.events != wanted[: len(self.events)]:
                self.fail(f"wrong events: {self.events}")
            if self.events != wanted:
                return False
        return "answers" not in self.words or self.answers[-1] == posted

    async def heard(self, seconds):
        """Waits until it has printed something more, so long."""
        if self.reading.done():
            self.fail("it ended")
        try:
            await asyncio.wait_for(self.news.wait(), seconds)
            self.news.clear()
        except TimeoutError:
            pass

    async def until_all(self, posted):
        end = asyncio.get_running_loop().time() + PATIENCE
        while not self.has_all(posted):
            if asyncio.get_running_loop().time() > end:
                self.fail(f"it does not print all of {posted}: {self.events}, {self.answers[-5:]}")
            await self.heard(1)

    def fail(self, why):
        raise Fault(f"{why}\n{self.text}printed:\n{''.join(self.lines)[-5000:]}")

    async def end(self):
        if self.process and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()
            await self.reading


async def judge(engine, program):
    address = await engine.listen()
    engine.at = await engine.start()
    await program.start(address)
    while not program.has_begun():
        await engine.post(engine.at, 2)
        await program.heard(0.1)
    await engine.post(engine.at, BATCH)
    await program.until_all(engine.posted)
    await engine.end()
    at = await engine.start()
    await engine.post(at, BATCH)
    engine.at = at
    await program.until_all(engine.posted)
    await engine.post(at, BATCH)
    await program.until_all(engine.posted)
    if "kept" in program.words:
        # It is ended while it has something to do.
        program.news.clear()
        await engine.post(at, BATCH)
        await program.heard(PATIENCE)
        await program.end()
        await engine.post(at, BATCH)
        await program.start(address)
        await program.until_all(engine.posted)


async def run(text, words):
    with tempfile.TemporaryDirectory() as folder:
        folders = [pathlib.Path(folder) / name for name in ("engine", "program")]
        for one in folders:
            one.mkdir()
        engine, program = Engine(folders[0]), Program(text, words, folders[1])
        try:
            await asyncio.wait_for(judge(engine, program), LIMIT)
        except TimeoutError:
            program.fail(f"not done after {LIMIT} s")
        finally:
            await program.end()
            await engine.end()
    print(f"{sorted(words)} came of {text.splitlines()[0]}", flush=True)


def judged_by():
    """What runs the programs, or what they are written with, and its version."""
    if LANGUAGE == "python":
        return f"websockets {version('websockets')}"
    name = "jq" if LANGUAGE == "sh" else "node"
    try:
        asked = subprocess.run([name, "--version"], check=True, capture_output=True, text=True, timeout=PATIENCE)
    except OSError as why:
        raise Fault(f"{why}; the programs need: apt-get install jq nodejs") from why
    return f"{name} {asked.stdout.strip().lstrip('jqv-')}"


try:
    by, count = judged_by(), 0
    for text, words in programs(pathlib.Path(DOCUMENT).read_text(encoding="utf-8")):
        asyncio.run(run(text, words))
        count += 1
except Fault as fault:
    sys.exit(str(fault))
print(f"verdict: {by}: {count} programs of the document")
