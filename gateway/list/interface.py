"""`GET /docs`: the HTTP interface as a page, written from /openapi.json; nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.list.pages import TEMPLATES, security_headers

_METHODS = ("get", "put", "post", "delete", "patch")
_REFERENCE = "#/components/schemas/"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Operation:
    """One method of one path (OpenAPI 3.1, Operation Object)."""

    method: str
    path: str
    said: Mapping[str, Any]


def build_interface(openapi: Callable[[], Mapping[str, Any]]) -> APIRouter:
    """The router of `GET /docs`.

    Args:
        openapi: gives the OpenAPI document of the application.
    """
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["kind"] = _kind
    router = APIRouter()

    @router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    def interface() -> HTMLResponse:
        document = openapi()
        html = templates.get_template("interface.html").render(
            version=document["info"]["version"],
            operations=list(_operations(document)),
            schemas=document.get("components", {}).get("schemas", {}),
        )
        return HTMLResponse(html, headers=security_headers())

    return router


def _operations(document: Mapping[str, Any]) -> Iterator[_Operation]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield _Operation(method=method.upper(), path=path, said=item[method])


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: what a value is, or the name of the schema that says so."""
    if reference := schema.get("$ref"):
        return str(reference).removeprefix(_REFERENCE)
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_kind(one) for one in several))
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return " or ".join(f'"{choice}"' for choice in choices)
    kind = str(schema.get("format") or schema.get("type") or "any")
    return f"{_kind(schema['items'])}, several" if kind == "array" and "items" in schema else kind
