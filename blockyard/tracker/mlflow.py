"""MLflow, in a folder of files: an experiment a comparison, a run a run.

    <folder>/mlflow/<experiment>/<run>/        params arm, seed, learning_rate, ...; metrics loss, rate, ..., score

Source   https://mlflow.org/docs/latest/ml/tracking
Family   trackers
Differs  no server and no database: the store of files, which MLflow keeps up but no longer extends, and which asks for
         MLFLOW_ALLOW_FILE_STORE=true of whoever opens it; no telemetry

A run that goes on is a new run, and the one before is deleted as MLflow does it: marked, until `mlflow gc`.
"""

import os
import time
from importlib import import_module
from pathlib import Path

from blockyard.core.files import alone
from blockyard.tracker._base import About, Figures, Tracker

LOCAL = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class MLflow(Tracker):
    """A run of MLflow."""

    package = "mlflow"
    extra = "mlflow"

    def __init__(self, about: About) -> None:
        os.environ.update(LOCAL)
        made, client = import_module("mlflow.entities"), import_module("mlflow.tracking").MlflowClient
        folder = Path(about.folder) / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        self.to = client(folder.resolve().as_uri())
        tags = {"run": f"{about.role}/{about.path}"}
        with alone(folder):  # of two runs that begin at once one makes the experiment
            known = self.to.get_experiment_by_name(about.group)
            experiment = known.experiment_id if known else self.to.create_experiment(about.group)
            for old in self.to.search_runs([experiment], f"tags.run = '{tags['run']}'"):
                self.to.delete_run(old.info.run_id)
            self.run = self.to.create_run(experiment, run_name=about.name, tags=tags).info.run_id
        self.to.log_batch(self.run, params=[made.Param(name, str(value)) for name, value in about.words.items()])

    def point(self, step: int, figures: Figures) -> None:
        metric, now = import_module("mlflow.entities").Metric, int(time.time() * 1000)
        self.to.log_batch(self.run, metrics=[metric(name, value, now, step) for name, value in figures.items()])

    def end(self, step: int, figures: Figures, failed: str) -> None:
        self.point(step, figures)
        if failed:
            self.to.set_tag(self.run, "reason", failed)
        self.to.set_terminated(self.run, "FAILED" if failed else "FINISHED")
