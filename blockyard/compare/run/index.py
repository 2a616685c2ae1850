"""The runs of many comparisons in one table, in any database that SQLAlchemy knows: `postgresql+psycopg://me@host/db`.

    blockyard_run   folder, key, comparison, label, arm, role, seed, lr, status, score, seconds

The rows are those of a comparison's own index.sqlite, with the label of the arm and where the comparison lies. They are
written in one transaction, whole or not at all, as often as one likes: a row takes the place of that of the same folder
and key. Nothing is ever read back by a comparison: what the table lacks, the next one of the same folder writes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from blockyard.compare.documents import Plan
from blockyard.core.document import Document, Json
from blockyard.core.errors import UsageError, brief
from blockyard.core.files import strict

NAME = "blockyard_run"
WAIT = 30  # seconds that a file of SQLite is waited for


@dataclass(frozen=True)
class Event(Document):
    """A run that has ended, whatever its end: a line of the log, a row of the table."""

    finished: str  # its key
    arm: str
    role: str
    seed: int
    lr: float
    status: str
    score: float | None
    seconds: float


class Index:
    """The table behind a URL, made where it is not there. UsageError, in a line, where it cannot be reached."""

    def __init__(self, url: str) -> None:
        if find_spec("sqlalchemy") is None:
            raise UsageError("--index needs a library: pip install 'blockyard[database]'")
        library: Any = import_module("sqlalchemy")
        exc = library.exc
        self.failures: tuple[type[Exception], ...] = (exc.SQLAlchemyError, OSError)
        try:
            waiting = {"connect_args": {"timeout": WAIT}} if url.startswith("sqlite") else {}
            self.engine = library.create_engine(url, pool_pre_ping=True, **waiting)
            self.table = _table()
            self._make()
        except exc.NoSuchModuleError:
            kind = brief(url.partition(":")[0])
            raise UsageError(f"--index: {kind} is no database that is known; as in sqlite:///runs.db") from None
        except ModuleNotFoundError as error:
            raise UsageError(f"--index needs a driver of this database: pip install {error.name}") from None
        except exc.ArgumentError:  # which may repeat the URL, with its password
            raise UsageError("--index is no URL of a database; as in sqlite:///runs.db") from None
        except self.failures as error:
            raise UsageError(f"--index {self.said}: {self.why(error)}") from None

    @property
    def said(self) -> str:
        """The URL as it may be shown, without the password."""
        return self.engine.url.render_as_string(hide_password=True)

    @staticmethod
    def why(error: BaseException) -> str:
        """What a database said, in a line."""
        lines = str(getattr(error, "orig", None) or error).strip().splitlines()
        return brief(lines[0] if lines else type(error).__name__, 160)

    def _make(self) -> None:
        """The table, if nobody made it; where two make it at once one of them fails, and finds it made."""
        try:
            self.table.metadata.create_all(self.engine)
        except self.failures:
            if not import_module("sqlalchemy").inspect(self.engine).has_table(NAME):
                raise

    def write(self, folder: Path, plan: Plan, events: Iterable[Event]) -> None:
        """Rows of a comparison, all of them or none."""
        where = {"folder": str(folder.resolve()), "comparison": folder.resolve().name}
        labels = {arm.id: arm.label for arm in (*plan.arms, *plan.bases)}
        rows = [where | {"label": labels.get(event.arm, event.arm)} | _row(event) for event in events]
        mine = self.table.c.folder == where["folder"]
        if rows:
            with self.engine.begin() as table:
                table.execute(self.table.delete().where(mine, self.table.c.key.in_([row["key"] for row in rows])))
                table.execute(self.table.insert(), rows)

    def rows(self) -> list[Json]:
        """All rows, a comparison after another."""
        select = import_module("sqlalchemy").select
        order = [self.table.c[name] for name in ("comparison", "folder", "role", "label", "seed", "lr", "key")]
        with self.engine.connect() as table:
            return [dict(row) for row in table.execute(select(self.table).order_by(*order)).mappings()]


def _row(event: Event) -> Json:
    row = strict(event.to_json())
    return {"key": row.pop("finished")} | row


def _table() -> Any:
    alchemy: Any = import_module("sqlalchemy")
    column = alchemy.Column
    words = {"folder": 500, "key": 16, "comparison": 255, "label": 255, "arm": 64, "role": 16, "status": 16}
    keys = ("folder", "key")
    return alchemy.Table(
        NAME, alchemy.MetaData(),
        *(column(name, alchemy.String(size), primary_key=name in keys, nullable=False) for name, size in words.items()),
        column("seed", alchemy.Integer, nullable=False),
        *(column(name, alchemy.Double) for name in ("lr", "score", "seconds")),
    )  # fmt: skip
