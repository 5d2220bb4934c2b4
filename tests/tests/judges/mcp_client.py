"""Judges /mcp and `tally mcp`, by the Python SDK: mcp_client.py BASE BINARY"""

import asyncio
import json
import sys
import urllib.request

from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters
from verdict import verdict

BASE, BINARY = sys.argv[1:]
# Seconds, for one request.
PATIENCE = 20


def questions():
    """Each metric with the params of its examples, as the API itself lists them."""
    with urllib.request.urlopen(BASE + "/api/metrics", timeout=PATIENCE) as answer:
        metrics = json.load(answer)["metrics"]
    return {one["name"]: [example["params"] for example in one["examples"]] for one in metrics}


def require(holds, what):
    if not holds:
        sys.exit(what)


async def ask(client, tools):
    """Calls each tool with each of its examples, and once with what it has to refuse."""
    calls = 0
    for name, examples in questions().items():
        tool = tools[name]
        Draft202012Validator.check_schema(tool.input_schema)
        require(tool.output_schema, f"{name} has no outputSchema")
        output = Draft202012Validator(tool.output_schema)
        for params in examples:
            Draft202012Validator(tool.input_schema).validate(params)
            answer = await client.call_tool(name, params)
            require(not answer.is_error, f"{name} {params}: {answer}")
            require(answer.structured_content is not None, f"{name} {params}: no structured result")
            output.validate(answer.structured_content)
            calls += 1
        refused = await client.call_tool(name, {"surely_unknown": 1})
        require(refused.is_error, f"{name} took an unknown param: {refused}")
        calls += 1
    return calls


async def read(client):
    """Reads each resource."""
    listed = (await client.list_resources()).resources
    uris = {str(resource.uri) for resource in listed}
    require({"tally://metrics", "tally://status"} <= uris, f"resources: {uris}")
    for uri in uris:
        contents = (await client.read_resource(uri)).contents
        require(contents, f"{uri} is empty")
        for content in contents:
            json.loads(content.text)
    return len(uris)


async def judge(server):
    async with Client(server, read_timeout_seconds=PATIENCE) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        missing = questions().keys() - tools.keys()
        require(not missing, f"no tools for {missing}")
        return await ask(client, tools) + await read(client)


over_http = asyncio.run(judge(BASE + "/mcp"))
over_stdio = asyncio.run(judge(StdioServerParameters(command=BINARY, args=["mcp", "--url", BASE])))
require(over_http == over_stdio, f"{over_http} answers over HTTP, and {over_stdio} over stdio")
verdict("mcp", over_http + over_stdio, "answers over HTTP and stdio")
