"""From folders to a server that runs until it is told to stop; SIGTERM lets the answers under way end."""

import json
import logging
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blockyard.core.errors import UsageError
from blockyard.core.files import is_missing
from blockyard.interop.peft import base_of, is_peft
from blockyard.model.attachment import INDEX, home_of
from blockyard.model.find import find_model
from blockyard.serve.limits import Limits

if TYPE_CHECKING:
    from blockyard.serve.drafts import Drafts
    from blockyard.serve.engine import Engine

GRACE = 30  # seconds that answers under way have when the server is told to stop


def serve(
    models: Sequence[str], *, host: str = "127.0.0.1", port: int = 8000, limits: Limits | None = None,
    keys: Sequence[str] = (), runs: str | Path | None = None, adapters: Sequence[str] = (), draft: str | None = None,
    num_speculative: int | None = None,
) -> None:  # fmt: skip
    """Answer over HTTP for the models in these folders until SIGTERM or Ctrl-C.

    models   folders, OUT:ARM of a comparison, or NAME=FOLDER; a folder by itself answers to its own name
    host     the address; 127.0.0.1: this machine only        port   0: any that is free
    keys     who brings none of these is refused; none: everybody is answered
    runs     a folder of comparisons that the page at / lists, with their reports; none: no files are shown
    adapters         NAME=FOLDER each, of ours or of peft: models of their own in the memory of the one they go onto
    draft            the folder of a smaller model of the same tokens that guesses ahead where few rows run
    num_speculative  guesses at once; without a draft looked up in the text so far, none: 0 without a draft, 6 with one
    """
    try:
        import uvicorn

        from blockyard.serve.app import make_app
        from blockyard.serve.drafts import Drafts
        from blockyard.serve.reports import Reports
    except ImportError as error:
        raise UsageError(f"serving needs {error.name}: pip install 'blockyard[serve]'") from None

    limits = limits or Limits()
    named, reports = names_of(models), None if runs is None else Reports(runs)
    added = adapters_of(adapters, named)
    listening = _listening(host, port)
    engines = engines_of(named, added, limits, Drafts.of(num_speculative, draft))
    app = make_app(engines, limits, keys, reports)
    address = f"http://{host}:{listening.getsockname()[1]}"
    print(f"{', '.join(engines)} at {address}/v1, a page at {address}/", file=sys.stderr, flush=True)
    _log_lines()
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=1 << 16,
        server_header=False, http="h11",  # the other one has no limit for headers
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def names_of(models: Sequence[str]) -> dict[str, str]:
    """The folder of every name."""
    found: dict[str, str] = {}
    for each in models:
        name, given, folder = each.partition("=")
        folder = folder if given else each
        name = name if given else folder.rpartition(":")[2] if ":" in folder else Path(folder).resolve().name
        if not name or not folder:
            raise UsageError(f"{each!r} is no model: give a folder, OUT:ARM, or NAME=FOLDER")
        if name in found:
            raise UsageError(f"two models are called {name}: give one of them another name, as other={folder}")
        found[name] = folder
    return found


def adapters_of(adapters: Sequence[str], models: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """By the name of an adapter its folder, and the name of the model that it goes onto: the only one, or the one in
    the folder that the adapter says it was made on."""
    found: dict[str, tuple[str, str]] = {}
    for each in adapters:
        name, _, folder = each.partition("=")
        if not name or not folder:
            raise UsageError(f"--adapter {each!r} is no adapter: give NAME=FOLDER")
        if name in found or name in models:
            raise UsageError(f"two models are called {name}: give one of them another name, as other={folder}")
        found[name] = folder, next(iter(models)) if len(models) == 1 else _home(name, folder, models)
    return found


def _home(name: str, folder: str, models: Mapping[str, str]) -> str:
    path = find_model(folder)
    if is_missing(path / INDEX) and not is_peft(path):
        raise UsageError(f"--adapter {name}={folder}: {path} holds no adapter")
    home = (base_of(path) if is_missing(path / INDEX) else home_of(path)).resolve()
    meant = [model for model, where in models.items() if find_model(where).resolve() == home]
    if len(meant) != 1:
        known = ", ".join(models)
        raise UsageError(f"--adapter {name}={folder} goes onto {home}, which is not one of {known}; serve it by itself")
    return meant[0]


def engines_of(
    models: Mapping[str, str], adapters: Mapping[str, tuple[str, str]], limits: Limits, drafts: "Drafts | None" = None
) -> "dict[str, Engine]":
    """The engines of these models, and behind them those of these adapters on them."""
    from blockyard.serve.engine import Engine

    found = {name: Engine(name, folder, limits, drafts=drafts) for name, folder in models.items()}
    for name, (folder, base) in adapters.items():
        found[name] = Engine(name, folder, limits, base=found[base], drafts=drafts)
    return found


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen at {host}:{port}: {error}") from None


class _Lines(logging.Formatter):
    """A line of JSON for each record."""

    def format(self, record: logging.LogRecord) -> str:
        said = record.getMessage()
        fields = json.loads(said) if record.name == "blockyard.serve" and said.startswith('{"') else {"message": said}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return json.dumps({"time": f"{moment}Z", "level": record.levelname.lower(), **fields})


def _log_lines() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    for name in ("blockyard.serve", "uvicorn"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO if name == "blockyard.serve" else logging.WARNING)
