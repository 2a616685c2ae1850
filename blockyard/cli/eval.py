"""Score trained models on a text or on tasks; of two or more, say which can be told apart."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer, is_
from blockyard.core import numbers
from blockyard.core.errors import UsageError

EXAMPLE = "blockyard eval my-model their-model --data other.txt"
JUDGED = ("against", "out", "score")  # what a verdict is asked for, by options that are silent else
VERDICT = {"margin": 0.01, "alpha": 0.05}


def options(add: Callable[..., Any]) -> None:
    add("model", nargs="+", help=f"{MODEL}; two or more get a verdict on the same samples")
    add("--data", action="append", default=[], help="a text file or folder; - for standard input")
    add("--tasks", help="instead of a text: tasks of lm-evaluation-harness with commas, YAML files or folders of them")
    add("--length", type=is_(numbers.EVAL_LENGTH), help="tokens a window (default: as trained)")
    add("--limit", type=is_(numbers.LIMIT), help="of every task the first documents only")
    add("--num-fewshot", type=is_(numbers.SHOTS), help="examples before a question (default: as the task says)")
    add("--score", metavar="METRIC", help="of the tasks only these metrics, with commas (default: all)")
    add("--margin", type=is_(numbers.MARGIN), help="the difference that matters, as a share of the score "
        f"(default {VERDICT['margin']})")  # fmt: skip
    add("--alpha", type=is_(numbers.ALPHA), help=f"how often any verdict may err (default {VERDICT['alpha']})")
    add("--against", metavar="MODEL", help="judge every model against this one only")
    add("--out", help="a folder for samples.csv, result.json, report.txt and the page report.html")


def run(options: argparse.Namespace) -> Answer:
    tasks = [each for each in (options.tasks or "").split(",") if each]
    if options.tasks is not None and not tasks:
        raise UsageError("--tasks is empty; name a task, such as arc_easy, or a YAML file")
    asked = {name: getattr(options, name) for name in ("limit", "num_fewshot") if getattr(options, name) is not None}
    if asked and not tasks:
        raise UsageError(f"--{next(iter(asked)).replace('_', '-')} is of tasks; name some with --tasks")
    given = {name: getattr(options, name) for name in (*JUDGED, *VERDICT) if getattr(options, name) is not None}
    if len(options.model) > 1:
        return _verdict(options, tasks, asked, given)
    if given:
        raise UsageError(f"--{next(iter(given))} is of a verdict, which needs two models; name another one")
    if not tasks:
        from blockyard.saved.evaluate import evaluate

        report = evaluate(options.model[0], options.data, options.length)
        words = f"{report.bits_per_byte:.4f} bits/byte over {report.bytes:,} bytes of {report.data}"
    else:
        from blockyard.saved.tasks import EvalSettings, run_tasks

        if options.data:
            raise UsageError("a text and tasks are two answers; leave out --data or --tasks")
        report = run_tasks(options.model[0], tasks, EvalSettings(options.length, **asked))
        words = str(report)
    for note in report.notes:
        print(note, file=sys.stderr)
    return report.to_json(), words


def _verdict(options: argparse.Namespace, tasks: list[str], asked: dict[str, Any], given: dict[str, Any]) -> Answer:
    """Two models or more, on the same samples."""
    from blockyard.saved.tasks import EvalSettings
    from blockyard.saved.versus import judge_models

    found = judge_models(
        options.model, options.data, tasks=tasks, settings=EvalSettings(options.length, **asked),
        tell=lambda line: print(line, file=sys.stderr), **given,
    )  # fmt: skip
    return found.to_json(), str(found)
