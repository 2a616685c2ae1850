"""Questions with an answer that stands in a text: .jsonl, a question a line.

    {"context": "Anna lives in Rome.", "question": "Where does Anna live?", "answer": "Rome"}

`start`, the place of the answer's first character, may stand beside it; else the answer's first place is meant. The
`answers` of SQuAD, {"text": [...], "answer_start": [...]}, are read as well: the first of them.

Source   arXiv 1606.05250    Family  text
Differs  questions without an answer are left out
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError, missing
from blockyard.data.annotated import Questions as Asked
from blockyard.data.formats import json_rows
from blockyard.source._base import Source
from blockyard.source._files import named

LOOKS = '{"context": "...", "question": "...", "answer": "..."}'


class Questions(Source):
    gives = "questions"
    usual = False
    endings = (".jsonl", ".ndjson")

    def read(self, paths: Sequence[str], **how: Any) -> Asked:
        if not paths:
            raise UsageError(f"name the questions: --data FILE.jsonl, a line of which looks like {LOOKS}")
        found: dict[tuple[str, str], tuple[int, int]] = {}
        count = unanswered = 0
        for path in paths:
            if not Path(path).is_file():
                raise UsageError(f"{path} is a folder; name the files") if Path(path).is_dir() else missing(Path(path))
            for number, row in json_rows(path, path):
                count += 1
                place = _place(f"{path} line {number}", row)
                if place is None:
                    unanswered += 1
                else:
                    found.setdefault((row["context"], row["question"]), place)
        if not found:
            raise UsageError(f"{named(paths)} has no question with an answer")
        lost = count - unanswered - len(found)
        notes = [f"{unanswered} of {count} questions have no answer and are left out"] if unanswered else []
        notes += [f"{lost} of {count} questions repeat another one and are left out"] if lost else []
        contexts, questions = zip(*found)
        return Asked(named(paths), contexts, questions, [*found.values()], how.get("codec") or "bytes", tuple(notes))


def _place(where: str, row: dict[str, Any]) -> tuple[int, int] | None:
    """The first character of the answer in its text, and the one behind it; None where there is none."""
    context, answer, start = row.get("context"), row.get("answer"), row.get("start")
    if not isinstance(context, str) or not isinstance(row.get("question"), str):
        raise UsageError(f"{where} has no context and question of text; each row must look like {LOOKS}")
    several = row.get("answers")
    if answer is None and isinstance(several, dict):
        texts, starts = several.get("text") or [None], several.get("answer_start") or [None]
        answer, start = texts[0], starts[0]
    if not answer:
        return None
    if not isinstance(answer, str):
        raise UsageError(f"{where}: answer holds {type(answer).__name__}, not text")
    start = context.find(answer) if start is None else start
    if not isinstance(start, int) or start < 0 or context[start : start + len(answer)] != answer:
        raise UsageError(f"{where}: the answer {answer[:40]!r} does not stand in its context" + (
            "" if start in (None, -1) else f" at character {start}"))  # fmt: skip
    return start, start + len(answer)
