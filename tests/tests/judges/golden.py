"""Asks by a client that openapi-python-client generated: golden.py FOLDER BASE OPERATION CASES

FOLDER has the generated package `client`; OPERATION is the operationId of `POST /api/metrics`; CASES is a file with questions and what is
answered.
"""

import datetime
import importlib
import inspect
import json
import pathlib
import re
import sys
import typing

from verdict import verdict

FOLDER, BASE, OPERATION, CASES = sys.argv[1:]
sys.path.insert(0, FOLDER)
client = importlib.import_module("client")


def plain(name):
    """Generators write names in ways of their own."""
    return "".join(filter(str.isalnum, name)).lower()


def same(value):
    """With each time in one form: the models hold times, and write them with an offset."""
    if isinstance(value, dict):
        return {key: same(of) for key, of in value.items()}
    if isinstance(value, list):
        return [same(of) for of in value]
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        return datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    return value


def operation():
    """The module of the operation."""
    for file in pathlib.Path(FOLDER, "client", "api").rglob("*.py"):
        if plain(file.stem) == plain(OPERATION):
            return importlib.import_module(f"client.api.{file.parent.name}.{file.stem}")
    sys.exit(f"the client has no operation {OPERATION}")


def body_of(question, kinds):
    """The question as the model that takes it whole."""
    for kind in kinds:
        try:
            body = kind.from_dict(question)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        if same(body.to_dict()) == same(question):
            return body
    sys.exit(f"no model of the client takes {question}: {kinds}")


ask = operation()
kinds = inspect.signature(ask.sync_detailed).parameters["body"].annotation
kinds = [kind for kind in typing.get_args(kinds) or [kinds] if hasattr(kind, "from_dict")]
with open(CASES, encoding="utf-8") as file:
    cases = json.load(file)["cases"]
with client.Client(base_url=BASE) as opened:
    for case in cases:
        question = {"name": case["name"], "params": case["params"]}
        answer = ask.sync_detailed(client=opened, body=body_of(question, kinds))
        if answer.status_code != 200:
            sys.exit(f"{question}: {answer.status_code} {answer.content.decode()}")
        read = answer.parsed.to_dict()
        said = same([read["result"], [warning["code"] for warning in read["warnings"]]])
        wanted = same([case["result"], case["warnings"]])
        if said != wanted:
            sys.exit(f"{question} is read as\n{said}\nand not as\n{wanted}")
    refused = {"name": "products_popularity", "params": {"limit": 0}}
    answer = ask.sync_detailed(client=opened, body=body_of(refused, kinds))
    if (answer.status_code, answer.parsed and answer.parsed.to_dict()["code"]) != (422, "invalid_params"):
        sys.exit(f"{refused}: {answer.status_code} {answer.parsed}")
verdict("openapi-python-client", len(cases) + 1, "answers")
