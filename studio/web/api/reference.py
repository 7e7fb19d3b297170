"""The OpenAPI description, also as an HTML page without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from studio.web.middleware.auth import COOKIE

if TYPE_CHECKING:
    from fastapi import FastAPI
    from jinja2 import Template

__all__ = ["describe", "reference_page"]

_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of POST /session, or of the command `studio login`.",
    },
    "page": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The session of the page; over https its name begins with __Host-.",
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_REFUSAL = {
    "description": "Refused; the code says why.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
}
_OPEN = {("/session", "post")}  # asked by whoever has not signed in yet
_METHODS = ("get", "post", "put", "patch", "delete")


def describe(app: FastAPI) -> dict[str, Any]:
    """The description: FastAPI's, with the security schemes and the shape of every refusal."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=[{"url": "/api/v1"}],
    )
    components = schema.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    components.setdefault("schemas", {})["Refusal"] = _ERROR
    for name in ("HTTPValidationError", "ValidationError"):  # refusals here have another shape
        components["schemas"].pop(name, None)
    schema["security"] = [{"token": []}, {"page": []}]
    for path, method, operation in _operations(schema):
        operation["responses"].pop("422", None)
        operation["responses"]["4XX"] = operation["responses"]["5XX"] = _REFUSAL
        if (path, method) in _OPEN:
            operation["security"] = []
    app.openapi_schema = schema
    return schema


def _operations(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in schema["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def reference_page(schema: Mapping[str, Any]) -> str:
    """The description as HTML, by subject."""
    subjects: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in _operations(schema):
        subject = (operation.get("tags") or ["other"])[0]
        subjects.setdefault(subject, []).append(
            {
                "path": path,
                "method": method.upper(),
                "summary": operation.get("description") or operation.get("summary", ""),
                "parameters": operation.get("parameters", []),
                "body": list(_bodies(operation, schema)),
                "answers": {
                    status: ", ".join(answer.get("content", {})) or "nothing"
                    for status, answer in operation["responses"].items()
                    if not status.endswith("XX")
                },
                "open": operation.get("security") == [],
            }
        )
    return _template().render(schema=schema, subjects=subjects)


def _bodies(
    operation: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[tuple[str, list[tuple[str, str, bool, str]]]]:
    """Kind of each body, and its fields: name, type, whether needed, description."""
    content = operation.get("requestBody", {}).get("content", {})
    for kind, held in content.items():
        shape = _resolved(held.get("schema", {}), schema)
        needed = shape.get("required", [])
        yield (
            kind,
            [
                (name, _type_text(field), name in needed, field.get("description", ""))
                for name, field in shape.get("properties", {}).items()
            ],
        )


def _resolved(shape: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(shape.get("$ref", "")).rpartition("/")[2]
    found: Mapping[str, Any] = schema["components"]["schemas"][name] if name else shape
    return found


def _type_text(field: Mapping[str, Any]) -> str:
    """What kind of value a field takes.

    >>> _type_text({"anyOf": [{"type": "integer"}, {"type": "null"}]})
    'integer'
    >>> _type_text({"type": "array", "items": {"type": "string"}}), _type_text({"enum": ["a", "b"]})
    ('list of string', 'a | b')
    """
    if "anyOf" in field:
        kinds = [_type_text(each) for each in field["anyOf"] if each.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if field.get("type") == "array":
        return f"list of {_type_text(field.get('items', {}))}"
    return str(field.get("type") or str(field.get("$ref", "object")).rpartition("/")[2])


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("studio.web.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["type_text"] = _type_text
    return environment.get_template("reference.html")
