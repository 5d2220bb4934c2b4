"""Judges /ws, by websockets and jsonschema: live.py BASE ASYNCAPI PLUGIN FOLDER

Each message that comes is held against the AsyncAPI document, until 10,000 have come; so is each message that is sent, but for those that are
wrong on purpose. Meanwhile events are posted, a plugin file is dropped into the engine's folder of plugins, and a second connection reads so
slowly that events are skipped.
"""

import asyncio
import collections
import json
import os
import shutil
import socket
import sys
import urllib.request

import websockets
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7
from verdict import verdict

BASE, DOCUMENT, PLUGIN, FOLDER = sys.argv[1:]
LEAST = 10_000
# An engine that has just begun to keep its log has dropped nothing of it.
UNSEEN = {"gap"}
# Seconds: for a message that has to come.
PATIENCE = 20


def found(document, pointer):
    """Where a pointer leads in the end, and what is there."""
    value = document
    for name in pointer.removeprefix("#/").split("/"):
        value = value[name.replace("~1", "/").replace("~0", "~")]
    return found(document, value["$ref"]) if set(value) == {"$ref"} else (pointer, value)


def messages(document, action):
    """Pointers to the messages of one side of /ws."""
    for operation in document["operations"].values():
        at, channel = found(document, operation["channel"]["$ref"])
        if operation["action"] == action and channel["address"] == "/ws":
            # An operation that names none has all of its channel.
            every = [{"$ref": f"{at}/messages/{name}"} for name in channel["messages"]]
            yield from (message["$ref"] for message in operation.get("messages", every))


def type_of(document, schema):
    """The word by which a message is told from others; where there is a choice, each of them has the same."""
    while "properties" not in schema:
        schema = (schema.get("oneOf") or schema["anyOf"])[0]
        if "$ref" in schema:
            _, schema = found(document, schema["$ref"])
    word = schema["properties"]["type"]
    return word["const"] if "const" in word else word["enum"][0]


class Schemas:
    """What one side of /ws may say, by type, and what it has said. AsyncAPI has schemas of draft 07."""

    def __init__(self, document, action):
        registry = Registry().with_resource("urn:document", DRAFT7.create_resource(document))
        self.by_type = collections.defaultdict(list)
        self.seen = collections.Counter()
        # Events that belong to no subscription.
        self.bare = 0
        for message in messages(document, action):
            at, payload = found(document, found(document, message)[0] + "/payload")
            schema = {"$ref": f"urn:document{at}"}
            formats = Draft7Validator.FORMAT_CHECKER
            validator = Draft7Validator(schema, registry=registry, format_checker=formats)
            self.by_type[type_of(document, payload)].append(validator)

    def check(self, text):
        """The message; ends the judge if it is none of the document's."""
        message = json.loads(text)
        validators = self.by_type.get(message["type"])
        if not validators:
            sys.exit(f"the document has no message of this type: {text[:1000]}")
        faults = [next(validator.iter_errors(message), None) for validator in validators]
        if all(faults):
            reasons = "; ".join(f"{fault.json_path}: {fault.message[:300]}" for fault in faults)
            sys.exit(f"{reasons}: {text[:1000]}")
        self.seen[message["type"]] += 1
        self.bare += message["type"] == "event" and "id" not in message
        return message


class Connection:
    """A WebSocket whose messages, of both sides, are held against the document."""

    def __init__(self, socket, receives, sends):
        self.socket, self.receives, self.sends = socket, receives, sends

    async def say(self, message):
        self.sends.check(json.dumps(message))
        await self.socket.send(json.dumps(message))

    async def next(self):
        return self.receives.check(await asyncio.wait_for(self.socket.recv(), PATIENCE))

    async def until(self, wanted):
        """Reads up to a message."""
        while not wanted(await self.next()):
            pass


def post(first, count):
    """Appends new events: of each of them one message has to come."""
    events = [
        {"event_id": f"j-{n}", "user_id": n % 50, "product_id": f"p{n % 20}", "event_type": ("view", "buy")[n % 2], "price": n}
        for n in range(first, first + count)
    ]
    body = "\n".join(map(json.dumps, events)).encode()
    request = urllib.request.Request(
        BASE + "/api/events", body, {"content-type": "application/x-ndjson"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        accepted = json.load(answer)["accepted"]
    if accepted != count:
        sys.exit(f"{accepted} of {count} events were accepted")


WATCHED = {
    "frequencies": {"metric": "event_frequencies", "params": {"window": "1h", "bucket": "1m"}},
    "popularity": {"metric": "products_popularity", "params": {"limit": 5}, "expand": ["names"]},
    "user": {"metric": "user_activities", "params": {"user_id": 1}, "min_interval_ms": 50},
}

REFUSED = [
    ("invalid_json", "{"),
    ("unknown_type", '{"type":"shout"}'),
    ("invalid_request", '{"type":"subscribe","id":7,"metric":"event_frequencies"}'),
    ("metric_not_found", '{"type":"subscribe","id":"x","metric":"nothing"}'),
    ("invalid_params", '{"type":"subscribe","id":"x","metric":"products_popularity","params":{"limit":0}}'),
    ("id_in_use", '{"type":"subscribe","id":"all","events":{}}'),
    ("unknown_id", '{"type":"unsubscribe","id":"x"}'),
]


async def talk(live):
    """Everything that a client may say, and what each of it is answered by."""
    await live.until(lambda message: message["type"] == "hello")
    await live.say({"type": "subscribe", "id": "all", "events": {}})
    await live.say({"type": "subscribe", "id": "some", "events": {"event_types": ["buy"], "user_id": 1}})
    for name, watched in WATCHED.items():
        await live.say({"type": "subscribe", "id": name, **watched})
        await live.until(lambda message: message["type"] == "update" and message["id"] == name)
    for code, text in REFUSED:
        await live.socket.send(text)
        await live.until(lambda message: message["type"] == "error" and message["code"] == code)
    await live.say({"type": "unsubscribe", "id": "some"})
    await live.say({"type": "ping"})
    await live.until(lambda message: message["type"] == "pong")


async def drop_in(live):
    """A file that appears among the plugins is told."""
    target = os.path.join(FOLDER, os.path.basename(PLUGIN))
    shutil.copy(PLUGIN, target + ".part")
    os.rename(target + ".part", target)
    await live.until(lambda message: message["type"] == "plugin" and message["state"] == "active")


async def read_posted(live, first, count, ids):
    """Posts events, and reads up to the last of them for each of the subscriptions (none: of the connection itself)."""
    await asyncio.to_thread(post, first, count)
    left = set(ids)

    def is_last(message):
        if message["type"] == "event" and message["event"]["event_id"] == f"j-{first + count - 1}":
            left.discard(message.get("id"))
        return not left

    await live.until(is_last)


async def silent(address, receives, sends, first):
    """Who wants no events is sent those that it subscribes to, and no other."""
    async with websockets.connect(f"ws://{address}/ws?events=none") as opened:
        live = Connection(opened, receives, sends)
        await live.say({"type": "subscribe", "id": "own", "events": {}})
        bare = receives.bare
        await read_posted(live, first, 100, {"own"})
        if receives.bare > bare:
            sys.exit("a connection that wants no events was sent some")


async def skipped(address, receives, sends, first):
    """Does not read while more is posted than is kept for it, then reads that it was skipped."""
    host, port = address.split(":")
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect((host, int(port)))
    async with websockets.connect(f"ws://{address}/ws", sock=slow, max_queue=1) as opened:
        live = Connection(opened, receives, sends)
        await live.until(lambda message: message["type"] == "hello")
        for n in range(8):
            await asyncio.to_thread(post, first + n * 5000, 5000)
        await live.until(lambda message: message["type"] == "skipped")


async def judge():
    with open(DOCUMENT, encoding="utf-8") as file:
        document = json.load(file)
    # The document says what the server does.
    receives, sends = Schemas(document, "send"), Schemas(document, "receive")
    address = BASE.removeprefix("http://")
    async with websockets.connect(f"ws://{address}/ws", max_size=None) as opened:
        live = Connection(opened, receives, sends)
        await talk(live)
        await drop_in(live)
        first, batch = 0, 250
        while sum(receives.seen.values()) < LEAST:
            await read_posted(live, first, batch, {None, "all"})
            first += batch
    await silent(address, receives, sends, first)
    await skipped(address, receives, sends, first + 100)
    unseen = set(receives.by_type) - set(receives.seen) - UNSEEN
    if unseen:
        sys.exit(f"these messages never came: {unseen}")
    return receives.seen


seen = asyncio.run(judge())
print(dict(seen))
verdict("websockets", sum(seen.values()), "messages")
