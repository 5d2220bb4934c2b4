"""Judges an OpenAPI document, by openapi-spec-validator: openapi.py DOCUMENT."""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator
from verdict import verdict

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}

with open(sys.argv[1], encoding="utf-8") as file:
    document = json.load(file)



def pointer(path):
    return "".join("/" + str(name).replace("~", "~0").replace("/", "~1") for name in path)


faults = [
    f"{pointer(fault.absolute_path)}: {fault.message[:500]}"
    for fault in OpenAPIV31SpecValidator(document).iter_errors()
]
# The validator takes any 3.x for 3.1 if it is told to, so the version is asked for here.
if not str(document.get("openapi")).startswith("3.1."):
    faults.append(f"/openapi: {document.get('openapi')!r} is not 3.1")
if faults:
    sys.exit("\n".join(faults))
operations = [
    method for path in document["paths"].values() for method in path if method in METHODS
]
verdict("openapi-spec-validator", len(operations), "operations")
