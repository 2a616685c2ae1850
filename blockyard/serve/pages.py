"""The page at `/` and what it asks for under /ui: models, their state and drawing, comparisons, the catalogue.

    /ui/models  /ui/models/NAME         what a model is, its steps and tensors, its state by length
    /ui/drawing?of=NAME&of=OTHER        one architecture as SVG, or two side by side
    /ui/runs  /ui/runs/FOLDER           comparisons and reports; the runs of one, finished and under way
    /ui/shown/FOLDER/report.html        a report, for who follows the link that the list has
    /ui/catalogue  /ui/catalogue/SLUG   systems; one with its headers, recipe, claims and verdict

Nothing is loaded from another machine: the page is one file, held to that by its Content-Security-Policy.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from blockyard.catalogue.index import Row, carriers, catalogue
from blockyard.compare.report.sheet import style
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.registry import Entry
from blockyard.diagram.outline import outline, sketch
from blockyard.model.count import numbers, on_meta, state_bytes, stored_bytes
from blockyard.model.model import Model
from blockyard.serve.engine import Engine
from blockyard.serve.reports import PAGE, Reports

LENGTHS = tuple(2**i for i in range(17))  # tokens: 1 to 64k
SHOWN = "/ui/shown/"  # reports: a link's mark stands for the key
PLACE = "/* the style sheet of reports stands here */"
ARXIV = re.compile(r"\b\d{4}\.\d{4,5}\b")
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; "
REPORT = (  # its script may light rows and nothing else: it runs as if it came from nowhere
    CLOSED + "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; "
    "sandbox allow-scripts"
)
DRAWING = CLOSED + "style-src 'unsafe-inline'; sandbox"
Json = dict[str, Any]
States = list[tuple[int, int | None]]


def add_pages(app: FastAPI, engines: Mapping[str, Engine], reports: Reports | None) -> None:
    """Give an application the page and its routes; without `reports` it lists no comparisons.

    Before any engine runs: what counts a state watches all operations of the process.
    """
    page, policy = the_page()
    states = {name: state_by_length(engine.model) for name, engine in engines.items()}

    @app.get("/", include_in_schema=False)
    async def whole() -> Response:
        return Response(page, 200, {**SAFE, "Content-Security-Policy": policy}, "text/html; charset=utf-8")

    _models(app, engines, states)
    _reports(app, reports)
    _catalogue(app)


@lru_cache(1)
def the_page() -> tuple[str, str]:
    """The page with the house's style sheet in it, and the policy that lets exactly its style and script be used."""
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8").replace(PLACE, style())
    allowed = {}
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        allowed[tag] = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
    policy = (
        f"default-src 'self'; script-src 'sha256-{allowed['script']}'; style-src 'sha256-{allowed['style']}'; "
        "img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def _models(app: FastAPI, engines: Mapping[str, Engine], states: Mapping[str, States]) -> None:
    def engine_of(name: str) -> Engine:
        if name not in engines:
            raise HTTPException(404, f"unknown model {name!r}; known: {', '.join(engines)}")
        return engines[name]

    @app.get("/ui/models", include_in_schema=False)
    async def models() -> Response:
        return JSONResponse([{"name": name, **_said(engine)} for name, engine in engines.items()], headers=SAFE)

    @app.get("/ui/models/{name:path}", include_in_schema=False)
    async def model(name: str) -> Response:
        engine = engine_of(name)
        told = await run_in_threadpool(described, engine.model)
        return JSONResponse({"name": name, **_said(engine), **told, "state": states[name]}, headers=SAFE)

    @app.get("/ui/drawing", include_in_schema=False)
    async def drawing(of: Annotated[list[str], Query(min_length=1, max_length=2)]) -> Response:
        drawn = await run_in_threadpool(sketch, [(name, engine_of(name).model) for name in of])
        return Response(drawn, 200, {**SAFE, "Content-Security-Policy": DRAWING}, "image/svg+xml")


def _said(engine: Engine) -> Json:
    """What the page asks of every model before anything else."""
    return {"chat": bool(engine.words.templates), "tokens": engine.limits.tokens, "params": numbers(engine.model)}


def state_by_length(model: Model) -> States:
    """Bytes of one row's state after so many tokens; None where the model cannot be read so far."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    try:
        counted = on_meta(model.spec).to(dtype)
    except NotImplementedError:  # an operation that the meta device has not
        return [(length, None) for length in LENGTHS]
    return [(length, _state(counted, length)) for length in LENGTHS]


def _state(model: Model, length: int) -> int | None:
    try:
        return state_bytes(model, length)
    except (UsageError, NotImplementedError):
        return None


def described(model: Model) -> Json:
    """An architecture: its width, its steps as they are drawn, and every tensor with its axes and its shape."""
    axes = {use.path: " × ".join(map(str, use.axes)) for use in model.uses if not use.of}
    learned = model.named_parameters()
    return {
        "stream": model.stream.size, "bytes": stored_bytes(model), "steps": [vars(row) for row in outline(model)],
        "tensors": [
            {"path": path, "axes": axes.get(path, ""), "shape": list(p.shape), "params": p.numel()}
            for path, p in learned
        ],
    }  # fmt: skip


def _reports(app: FastAPI, reports: Reports | None) -> None:
    nowhere = partial(HTTPException, 404)

    @app.get("/ui/runs", include_in_schema=False)
    async def runs() -> Response:
        rows = None if reports is None else await run_in_threadpool(reports.listed)
        return JSONResponse({"runs": rows}, headers=SAFE)

    @app.get("/ui/runs/{name:path}", include_in_schema=False)
    async def one(name: str) -> Response:
        found = None if reports is None else await run_in_threadpool(reports.progress, name)
        if found is None:
            raise nowhere(f"no comparison {name!r} is listed")
        return JSONResponse(found, headers=SAFE)

    @app.get(SHOWN + "{place:path}", include_in_schema=False)
    async def shown(place: str, mark: str = "") -> Response:
        name, _, file = place.rpartition("/")
        found = None
        if reports is not None and file == PAGE:
            found = await run_in_threadpool(reports.page, name, mark)
        if found is None:
            raise nowhere("no report is listed there; a link holds as long as its server runs")
        return Response(found, 200, {**SAFE, "Content-Security-Policy": REPORT}, "text/html; charset=utf-8")


def _catalogue(app: FastAPI) -> None:
    @app.get("/ui/catalogue", include_in_schema=False)
    async def every() -> Response:
        rows, carried = await run_in_threadpool(_systems)
        found = [
            {**{name: getattr(row, name) for name in ("slug", "title", "year", "family", "kind", "status", "recipe")},
             "verdict": row.study_verdict, "sources": sources(carried.get(slug, []))}
            for slug, row in rows.items()
        ]  # fmt: skip
        return JSONResponse(found, headers=SAFE)

    @app.get("/ui/catalogue/{slug}", include_in_schema=False)
    async def one(slug: str) -> Response:
        rows, carried = await run_in_threadpool(_systems)
        if slug not in rows:
            raise HTTPException(404, f"unknown system {slug!r}")
        found = [header(entry) for entry in carried.get(slug, [])]
        return JSONResponse(
            {**rows[slug].to_json(), "sources": sources(carried.get(slug, [])), "headers": found}, headers=SAFE
        )


@lru_cache(1)
def _systems() -> tuple[dict[str, Row], dict[str, list[Entry]]]:
    """The catalogue by slug with what carries each system; read once, which takes seconds."""
    return {row.slug: row for row in catalogue()}, carriers()


def header(entry: Entry) -> Json:
    """What a part, a recipe or a study says of itself: the text of its header, its claims, its sizes."""
    claims = entry.constant("claims") if entry.kind in registry.KINDS else None
    sizes = entry.constant("sizes") if entry.kind == "recipe" else None
    return {
        "kind": entry.kind, "name": entry.name, "title": entry.title, "doc": entry.doc.strip(),
        "claim": entry.header.get("Claim"), "differs": entry.header.get("Differs"),
        "claims": {name: str(value) for name, value in claims.items()} if isinstance(claims, dict) else {},
        "sizes": list(sizes) if isinstance(sizes, dict) else [],
    }  # fmt: skip


def sources(entries: list[Entry]) -> list[Json]:
    """The papers that headers name, each once, with where it is to be read."""
    found = [number for entry in entries for number in ARXIV.findall(entry.header.get("Source", ""))]
    return [{"name": f"arXiv {number}", "link": f"https://arxiv.org/abs/{number}"} for number in dict.fromkeys(found)]
