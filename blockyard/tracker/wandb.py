"""Weights & Biases, offline: what `wandb sync` sends later, if somebody wants it sent.

    <folder>/wandb/offline-run-<time>-<id>/run-<id>.wandb        <id> follows from role, arm and seed

Source   https://docs.wandb.ai/guides/track
Family   trackers
Differs  offline whatever WANDB_MODE says, and nothing about machine, code or folder is kept beside the run

A run that goes on is written anew: offline there is no run to take up. Steps must rise, and here they do.
"""

import hashlib
import os
import re
import shutil
from importlib import import_module
from pathlib import Path

from blockyard.tracker._base import About, Figures, Tracker

LOCAL = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}


class Wandb(Tracker):
    """A run of Weights & Biases."""

    package = "wandb"
    extra = "wandb"

    def __init__(self, about: About) -> None:
        os.environ.update(LOCAL)
        wandb = import_module("wandb")
        folder = Path(about.folder) / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(f"{about.group}/{about.role}/{about.path}".encode()).hexdigest()[:12]
        project = re.sub(r"[/\\#?%:]", "_", about.group)[:128]
        for old in folder.glob(f"wandb/offline-run-*-{name}"):
            shutil.rmtree(old, ignore_errors=True)
        self.to = wandb.init(
            id=name, name=about.name, group=about.arm, project=project, job_type=about.role, config=about.words,
            dir=str(folder), mode="offline", reinit="create_new", save_code=False,
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, x_disable_stats=True, x_disable_meta=True,
                x_disable_machine_info=True, x_save_requirements=False,
            ),
        )  # fmt: skip

    def point(self, step: int, figures: Figures) -> None:
        self.to.log(dict(figures), step=step)

    def end(self, step: int, figures: Figures, failed: str) -> None:
        self.point(step, figures)
        if failed:
            self.to.summary["reason"] = failed
        self.to.finish(exit_code=1 if failed else 0)
