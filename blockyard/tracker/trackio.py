"""Trackio, on this machine: a project a comparison, in a database beside the others.

    <folder>/trackio/<project>.db

Source   https://huggingface.co/docs/trackio
Family   trackers
Differs  no Space, no server and no messages to the web, whatever TRACKIO_* variables say; nothing of the
         machine is logged

A run that goes on is written anew, and the one before is deleted.
"""

import os
import re
from importlib import import_module
from pathlib import Path

from blockyard.tracker._base import About, Figures, Tracker

REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_WEBHOOK_URL")


class Trackio(Tracker):
    """A run of Trackio."""

    package = "trackio"
    extra = "trackio"

    def __init__(self, about: About) -> None:
        folder = Path(about.folder) / "trackio"
        folder.mkdir(parents=True, exist_ok=True)
        for name in REMOTE:
            os.environ.pop(name, None)
        os.environ |= {"TRACKIO_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
        trackio, kept = import_module("trackio"), import_module("trackio.utils").TRACKIO_DIR
        if Path(kept) != folder:  # it is read once, when the library is imported
            raise RuntimeError(f"this process keeps its runs in {kept}")
        project, name = re.sub(r"[^\w-]+", "-", about.group), f"{about.role}/{about.name}"
        for old in trackio.Api().runs(project) if list(folder.glob("*.db")) else ():
            if old.name == name:
                old.delete()
        self.to = trackio.init(
            project=project, name=name, group=about.arm, config=about.words, embed=False,
            auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip

    def point(self, step: int, figures: Figures) -> None:
        self.to.log(dict(figures), step=step)

    def end(self, step: int, figures: Figures, failed: str) -> None:
        ended = {"status": "failed", "reason": failed} if failed else {"status": "finished"}  # it has no end of its own
        self.to.log({**figures, **ended}, step=step)
        self.to.finish()
