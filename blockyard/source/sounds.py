"""Sounds in class folders, or by a pattern of names such as {digit}_{speaker}_{n}.wav: WAV files.

Source   none    Family  audio
Differs  nothing known
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.data.clips import Clips, Heard, common_rate, decode
from blockyard.data.found import File, columns, facts, find
from blockyard.data.items import Items
from blockyard.source._base import Source
from blockyard.source._files import named, read_each


class Sounds(Source):
    gives = "items"
    endings = (".wav", ".wave")

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        files, notes = find(paths, self.endings, "sounds")
        seen: dict[str, Heard] = {}

        def head(file: File, data: bytes) -> None:
            rate, samples = decode(file.name, data)
            if not len(samples):
                raise UsageError("no sample in it")
            seen[file.name] = Heard(rate, len(samples))

        kept, content, more = read_each(files, head, "sounds")
        heard = [seen[file.name] for file in kept]
        rows = Clips([file.path for file in kept], heard, common_rate(heard))
        notes = (*notes, *more)
        others = sum(each.rate != rows.rate for each in heard)
        if others:
            notes = (*notes, f"{others} of {len(kept)} sounds are brought to {rows.rate:,} samples a second")
        if rows.cut:
            seconds = rows.lengths.max() / rows.rate
            notes = (
                *notes,
                f"{rows.cut} of {len(kept)} sounds last longer than {seconds:.3g} s and are heard to there",
            )
        digest = hashlib.sha256(repr(content).encode()).hexdigest()
        said = facts(named(paths), "sounds", columns([file.fields for file in kept]))
        return Items(
            named(paths),
            digest,
            "sounds",
            rows,
            names=[file.name for file in kept],
            rate=rows.rate,
            notes=notes,
            **said,
        )
