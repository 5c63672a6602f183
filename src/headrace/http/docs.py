"""`/docs/api`: the OpenAPI document as a page for people, without a script and without the network.

All of it is made here from the same document, once. Its style is inline and named by its hash in
the policy, so that a browser runs and fetches nothing else.
"""

import base64
import hashlib
import json
import shlex
from functools import cache
from html import escape
from typing import Any, Final

from headrace.http.openapi import build

_STYLE: Final = """
:root { color-scheme: light dark; --back: #ffffff; --text: #17212b; --soft: #55626f;
  --line: #dde3e9; --box: #eef1f4; --link: #075e7c; --get: #0b6b43; --post: #0b5cad; --put: #8a5300;
  --delete: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #181f26; --text: #e4eaf0; --soft: #9dabb8;
  --line: #2a343e; --box: #10161b; --link: #7cc6e0; --get: #58d09b; --post: #79b8ff;
  --put: #f0b05a; --delete: #ff8a80; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
code, pre { font: 0.875em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.page { display: grid; grid-template-columns: 17rem minmax(0, 1fr); max-width: 84rem;
  margin: 0 auto; }
nav { border-right: 1px solid var(--line); padding: 1.5rem 1rem; position: sticky; top: 0;
  height: 100vh; overflow-y: auto; font-size: 0.875rem; }
nav strong { display: block; font-size: 1.125rem; }
nav p { margin: 0.5rem 0 1rem; }
pre code { font-size: 1em; }
nav summary { padding: 0.3rem 0; font-weight: 600; cursor: pointer; }
nav ul { list-style: none; margin: 0 0 0.5rem; padding: 0; }
nav li a { display: flex; gap: 0.5rem; padding: 0.15rem 0; text-decoration: none;
  color: var(--soft); }
nav li a:hover { color: var(--link); }
nav .verb { flex: 0 0 3.2rem; font-size: 0.6875rem; line-height: 1.3rem; }
main { padding: 1.5rem 2rem 6rem; min-width: 0; }
h1 { margin: 0 0 0.25rem; font-size: 1.75rem; }
h2 { margin: 3rem 0 0.5rem; padding-bottom: 0.3rem; border-bottom: 1px solid var(--line);
  font-size: 1.375rem; text-transform: capitalize; }
h3 { margin: 0; font-size: 1rem; font-weight: 600; display: flex; gap: 0.75rem;
  align-items: baseline; flex-wrap: wrap; }
h4 { margin: 1.25rem 0 0.4rem; font-size: 0.8125rem; color: var(--soft); font-weight: 600; }
section.route { padding: 1.25rem 0; border-bottom: 1px solid var(--line); }
section.route > p { margin: 0.4rem 0 0; }
.verb { font: 700 0.8125rem ui-monospace, Menlo, Consolas, monospace; }
.get, .head { color: var(--get); } .post { color: var(--post); } .put { color: var(--put); }
.delete { color: var(--delete); }
.soft { color: var(--soft); font-size: 0.875rem; }
pre { margin: 0; padding: 0.75rem 1rem; background: var(--box); border: 1px solid var(--line);
  border-radius: 6px; max-height: 28rem; overflow: auto; white-space: pre; overflow-wrap: normal; }
dl { margin: 0; display: grid; grid-template-columns: minmax(8rem, 14rem) minmax(0, 1fr);
  font-size: 0.9375rem; }
dt, dd { margin: 0; padding: 0.3rem 0; border-top: 1px solid var(--line); }
dt { padding-right: 1rem; }
dt .soft { display: block; font-size: 0.75rem; }
details.part { margin-top: 0.75rem; }
details.part > summary { cursor: pointer; font-size: 0.875rem; color: var(--link); }
details.part[open] > summary { margin-bottom: 0.5rem; }
.need { color: var(--delete); }
.pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1rem; }
@media (max-width: 60rem) {
  .page { display: block; }
  nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line); }
  nav li a { padding: 0.4rem 0; }
  nav div { columns: 2; }
  nav details { break-inside: avoid; }
  nav details[open] { column-span: all; }
  nav summary { padding: 0.5rem 0; }
  main { padding: 1.25rem 1rem 4rem; }
  .pair { grid-template-columns: minmax(0, 1fr); }
  dl { grid-template-columns: minmax(0, 1fr); }
  dd { border-top: 0; padding-top: 0; }
}
"""
POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)
"""`Content-Security-Policy` of the page."""
_BASE: Final = "http://127.0.0.1:8080"


@cache
def page() -> bytes:
    """Return the page. It is the same for every server of this version."""
    found = build()
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append((method, path, operation))
    tags = [(tag["name"], tag["description"]) for tag in found["tags"] if tag["name"] in by_tag]
    schemas = found["components"]["schemas"]
    info = found["info"]
    title = f"{info['title']} {info['version']}"
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}: HTTP API</title><style>{_STYLE}</style></head><body>",
        '<div class=page><nav aria-label="Routes"><strong>headrace</strong>'
        '<p><a href="../docs">All pages</a></p>'
        f"<div>{_contents(tags, by_tag)}</div></nav><main>",
        f"<h1>HTTP API</h1><p class=soft>{escape(title)}</p><p>{escape(info['description'])}",
        ' The same as a document: <a href="/openapi.json">openapi.json</a>.</p>',
    ]
    for tag, description in tags:
        parts.append(f'<h2 id="tag-{escape(tag)}">{escape(tag)}</h2><p>{escape(description)}</p>')
        parts += [_route(*each, schemas) for each in by_tag[tag]]
    parts.append("</main></div></body></html>\n")
    return "".join(parts).encode()


def _contents(
    tags: list[tuple[str, str]], by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]]
) -> str:
    parts = []
    for tag, _ in tags:
        rows = "".join(
            f'<li><a href="#{operation["operationId"]}">{_verb(method)}'
            f"<span>{escape(path)}</span></a></li>"
            for method, path, operation in by_tag[tag]
        )
        parts.append(
            f"<details><summary>{escape(tag.capitalize())}</summary><ul>{rows}</ul></details>"
        )
    return "".join(parts)


def _verb(method: str) -> str:
    return f'<span class="verb {method}">{method.upper()}</span>'


def _route(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    name = operation["operationId"]
    parts = [
        f'<section class=route id="{name}"><h3>{_verb(method)}<code>{escape(path)}</code></h3>',
        f"<p>{escape(operation['summary'])}.</p>",
        f"<p class=soft>{escape(_who(operation))}</p>",
        _parameters(operation["parameters"]),
    ]
    content = operation.get("requestBody", {}).get("content", {})
    success, answer = next(
        (status, answer) for status, answer in operation["responses"].items() if status < "400"
    )
    answered = answer.get("content", {})
    shown = _example(answered)
    parts.append(f"<div class=pair><div><h4>Request</h4>{_curl(method, path, operation)}</div>")
    parts.append(f"<div><h4>Answer {success}</h4><pre>{escape(shown)}</pre></div></div>")
    for title, media in (("Fields of the request", content), ("Fields of the answer", answered)):
        fields = _fields(_schema(media), schemas, set())
        if fields:
            parts.append(
                f"<details class=part><summary>{title}</summary><dl>{fields}</dl></details>"
            )
    refusals = "".join(
        f"<dt><code>{status}</code></dt><dd>{escape(answer['description'])}</dd>"
        for status, answer in operation["responses"].items()
        if status >= "400"
    )
    parts.append(
        f"<details class=part><summary>Problems</summary><dl>{refusals}</dl></details></section>"
    )
    return "".join(parts)


def _who(operation: dict[str, Any]) -> str:
    scopes = operation.get("x-scopes")
    if not scopes:
        return "Needs no key."
    return f"Needs a key with scope {' or '.join(scopes)}; none where the server has no keys."


def _parameters(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = []
    for parameter in parameters:
        kind = parameter["schema"].get("items", parameter["schema"]).get("type", "")
        need = " <span class=need>required</span>" if parameter["required"] else ""
        rows.append(
            f"<dt><code>{escape(parameter['name'])}</code>{need}"
            f"<span class=soft>{parameter['in']}, {kind}</span></dt>"
            f"<dd>{escape(parameter.get('description', ''))}</dd>"
        )
    return (
        f"<details class=part><summary>Parameters ({len(rows)})</summary>"
        f"<dl>{''.join(rows)}</dl></details>"
    )


def _curl(method: str, path: str, operation: dict[str, Any]) -> str:
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    flag = {"get": "", "head": " --head"}.get(method, f" -X {method.upper()}")
    lines = [f"curl{flag} {shlex.quote(_BASE + path)}"]
    if operation.get("x-scopes"):
        lines.append('-H "Authorization: Bearer $HEADRACE_KEY"')
    content = operation.get("requestBody", {}).get("content", {})
    media = next(iter(content), None)
    if media is not None:
        lines.append(f"-H 'Content-Type: {media}'")
        example = content[media].get("example")
        if example is None:
            lines.append("--data-binary @FILE")
        else:
            lines.append(f"-d {shlex.quote(json.dumps(example, indent=2, ensure_ascii=False))}")
    command = " \\\n  ".join(lines)
    return f"<pre>{escape(command)}</pre>"


def _example(content: dict[str, Any]) -> str:
    for media, found in content.items():
        if "example" not in found:
            return f"({media})"
        example = found["example"]
        return example if isinstance(example, str) else json.dumps(example, indent=2)
    return "(no body)"


def _fields(schema: dict[str, Any], schemas: dict[str, Any], above: set[str]) -> str:
    """Return rows of the fields of a schema; those of a schema in it follow behind their field."""
    for part in [schema, *schema.get("anyOf", ())]:
        if part.get("type") == "array":
            part = part["items"]
        name = part.get("$ref", "").rpartition("/")[2]
        if name and name not in above:
            return _fields_of(schemas[name], schemas, {*above, name})
    return ""


def _fields_of(
    found: dict[str, Any], schemas: dict[str, Any], above: set[str], prefix: str = ""
) -> str:
    required = set(found.get("required", ()))
    rows = []
    for name, schema in found.get("properties", {}).items():
        need = " <span class=need>required</span>" if name in required else ""
        rows.append(
            f"<dt><code>{escape(prefix + name)}</code>{need}"
            f"<span class=soft>{escape(_kind(schema))}</span></dt>"
            f"<dd>{escape(schema.get('description', ''))}</dd>"
        )
        for part in [schema, *schema.get("anyOf", ())]:
            many = "[]" if part.get("type") == "array" else ""
            part = part.get("items", part) if many else part
            inner = part.get("$ref", "").rpartition("/")[2] if isinstance(part, dict) else ""
            if inner and inner not in above:
                rows.append(
                    _fields_of(schemas[inner], schemas, {*above, inner}, f"{prefix}{name}{many}.")
                )
    return "".join(rows)


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "$ref" in schema:
        return "object"
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = schema.get("type", "any JSON")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    if kind == "array" and isinstance(schema.get("items"), dict):
        kind = f"array of {_kind(schema['items'])}"
    limits = [
        f"{word} {schema[key]}"
        for key, word in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
            ("minLength", "at least"),
            ("maxLength", "at most"),
            ("maxItems", "at most"),
        )
        if key in schema
    ]
    return " ".join([kind, *limits])


def _schema(content: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the first media type, if there is one."""
    for found in content.values():
        schema: dict[str, Any] = found.get("schema", {})
        return schema
    return {}
