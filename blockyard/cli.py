"""The command line: `blockyard VERB TARGET...`. Verbs import what they need when they run.

Exit code 0: done; 1: the work failed; 2: the request is wrong, in a line or two; 130: stopped by Ctrl-C.
Logs and progress go to standard error, answers to standard output; `--json` makes the answer one JSON document.
"""

import argparse
import errno
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from blockyard.core import numbers, streams
from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import strict

EXAMPLES = {
    "compare": "blockyard compare llama gla --data my.txt --params 1M --tokens 2M",
    "train": "blockyard train gla --data my.txt --params 1M --tokens 2M --out my-model",
    "eval": "blockyard eval my-model --data other.txt",
    "generate": 'blockyard generate runs/mine:llama --prompt "Once upon a time"',
    "quantise": "blockyard quantise my-model --bits 4 --out my-small-model",
    "study": "blockyard study deltanet --tier smoke",
    "list": "blockyard list mixer",
    "show": "blockyard show mixer:gla",
    "check": "blockyard check mixer:gla",
    "catalogue": "blockyard catalogue --json",
    "bench": "blockyard bench train",
}
VERBS = {
    "compare": "which of these architectures suits this data and budget, and how sure is that",
    "train": "train one architecture and keep the model",
    "eval": "score a trained model on a text, in bits per byte",
    "generate": "continue a prompt with a trained model",
    "quantise": "keep a trained model's matrices in 8 or 4 bits",
    "study": "re-test a published claim at a small scale, or `status`: what the studies said",
    "list": "the names of recipes, or of parts of a kind",
    "show": "what a recipe or a part is: equations, settings, claims",
    "check": "hold a recipe, a part, a task or a study to what it claims",
    "catalogue": "all systems and how far each one is",
    "bench": "how fast we are beside others here: train, recipes, mixers, decode, context, ahead or overhead",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A wrong word of the command line in one line."""
        print(f"blockyard: {message.removeprefix('argument ')}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _is(kind: Callable[[Any, str], Any]) -> Callable[[str], Any]:
    """A type of argparse, which shows the words of its own error only and names the option itself."""

    def read(text: str) -> Any:
        try:
            return kind(text, "")
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error).strip()) from None

    return read


def parser() -> argparse.ArgumentParser:
    """The whole grammar; its options are few and frozen by a test."""
    top = _Parser("blockyard", description="A workbench for the Transformer family.")
    top.add_argument("--version", action="store_true", help="print the version")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    made = {}
    for verb, text in VERBS.items():
        made[verb] = verbs.add_parser(
            verb, help=text, description=text.capitalize() + ".", epilog=f"example: {EXAMPLES[verb]}"
        )
        made[verb].add_argument("--json", action="store_true", help="one JSON document on standard output")
    for verb in ("compare", "train"):
        _training(made[verb], many=verb == "compare")
    for verb in ("eval", "generate", "quantise"):
        made[verb].add_argument("model", help="the folder of a trained model, or OUT:ARM of a comparison")
    made["eval"].add_argument("--data", action="append", default=[], help="a text file or folder; - for standard input")
    made["eval"].add_argument(
        "--length", type=_is(numbers.EVAL_LENGTH), default=None, help="tokens a window (default: as trained)"
    )
    _writing(made["generate"])
    made["quantise"].add_argument("--bits", type=_is(numbers.BITS), default=8, help="8 (default) or 4 a number")
    made["quantise"].add_argument(
        "--group", type=_is(numbers.GROUP), default=32, help="numbers that share a scale: 32 (default) or 64"
    )
    made["quantise"].add_argument("--keep", action="append", default=[], metavar="PATTERN", help="parts that stay as "
        "they are, by path: head, *.down; may be repeated")  # fmt: skip
    made["quantise"].add_argument("--wide", action="append", default=[], metavar="PATTERN", help="parts that take 8 "
        "bits; may be repeated")  # fmt: skip
    made["quantise"].add_argument("--out", required=True, help="the folder of the small model")
    made["study"].add_argument("name", help="a study (see: blockyard list study), or status")
    made["study"].add_argument("--tier", default="small", help="smoke: it runs, in seconds; small (default): it tells")
    made["study"].add_argument("--out", default="results", help="the folder of the records (default results)")
    made["list"].add_argument("kind", nargs="?", default="recipe", help="recipe (default), task, study, mixer, ...")
    for verb in ("list", "catalogue"):
        made[verb].add_argument("--family", default=None, help="only those of this family")
    made["catalogue"].add_argument("--status", default=None, help="planned, draft, checked, matched or raced")
    made["show"].add_argument("name", help="a recipe, or kind:name of a part, a task or a study")
    made["check"].add_argument("name", help="a recipe (its whole model and all its parts), or kind:name of a part, a "
        "task or a study; with settings: gla:mixer.heads=2, task:mqar:pairs=8")  # fmt: skip
    made["bench"].add_argument("name", help="train, recipes, mixers, decode, context, ahead or overhead")
    made["bench"].add_argument(
        "--length", default=None, help="tokens a row; of mixers and context also several: 512,2048"
    )
    made["bench"].add_argument(
        "--batch", type=_is(numbers.BATCH), default=None, help="rows (default: as the bench says)"
    )
    made["bench"].add_argument("--device", default=None, help="cpu (default) or cuda")
    made["bench"].add_argument("--precision", default=None, help="float32 or bfloat16 (default: both where it pays)")
    made["bench"].add_argument(
        "--rounds", type=_is(numbers.ROUNDS), default=None, help="interleaved rounds (default 7 or more)"
    )
    return top


def _writing(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    add("--prompt", default="\n", help="what to continue; - for standard input")
    add("--tokens", type=_is(numbers.WRITTEN), default=200, help="how many tokens (default 200)")
    add("--temperature", type=_is(numbers.TEMPERATURE), default=None, help="0 takes the likeliest (default 0.8)")
    add("--top-k", type=_is(numbers.TOP_K), default=None, help="only the k likeliest tokens")
    add("--top-p", type=_is(numbers.SHARE), default=None, help="only the likeliest tokens of this mass")
    add("--min-p", type=_is(numbers.SHARE), default=None, help="only tokens this near the likeliest")
    add("--repetition", type=_is(numbers.REPETITION), default=None, help="above 1: seen tokens lose weight")
    add("--stop", action="append", default=[], help="end before this text; may be repeated")
    add("--beams", type=_is(numbers.BEAMS), default=None, help="search the likeliest texts, so many wide")
    add("--ahead", type=_is(numbers.AHEAD), default=0, help="guess so many tokens from the "
        "text so far: faster where it repeats itself, the same text")  # fmt: skip
    add("--int8-cache", action="store_true", help="attention keeps its past in 8 bits")
    add("--seed", type=_is(numbers.SEED), default=None, help="the same seed gives the same text (default 0)")


def _training(verb: argparse.ArgumentParser, many: bool) -> None:
    what = "NAME, LABEL=NAME or LABEL=NAME:key=value,key=value"
    verb.add_argument("target", nargs="+" if many else None, help=what)
    add = verb.add_argument
    add("--data", action="append", default=[], help="a text file, a folder or a .jsonl; - for standard input; "
        "may be given several times (default: the texts of CPython itself)")  # fmt: skip
    add("--task", default=None, metavar="NAME[:KEY=VALUE,...]", help="a task, not text (see: blockyard list task)")
    add("--params", type=_is(numbers.PARAMS), default=None, help="parameters of every arm (default 200k)")
    add(
        "--memory",
        type=_is(numbers.MEMORY),
        default=None,
        help="peak memory of a training step of every arm, instead of parameters: 200M",
    )
    add("--tokens", type=_is(numbers.TOKENS), default=None, help="training tokens of every arm (default 200k)")
    add("--flops", type=_is(numbers.FLOPS), default=None, help="training operations of every arm, instead of tokens")
    add("--minutes", type=_is(numbers.MINUTES), default=None, help="training minutes of every arm, instead of tokens")
    add("--length", type=_is(numbers.LENGTH), default=None, help="tokens a row (default 128; a task has its own)")
    add("--batch", type=_is(numbers.BATCH), default=16, help="rows a step (default 16)")
    add("--codec", default="bytes", help="bytes (default), or bpe:4096: trained on your text")
    add("--device", default=None, help="cpu, cuda, mps (default: cuda if there is one)")
    add("--precision", default=None, help="float32 or bfloat16 (default: a rule, printed)")
    if many:
        add("--seeds", default=None, help="runs of every arm (default by the number of arms); 3,6,10 looks three times "
            "and stops when it is settled")  # fmt: skip
        add(
            "--margin",
            type=_is(numbers.MARGIN),
            default=0.01,
            help="the difference that matters, as a share of the loss (default 0.01)",
        )
        add("--tuning", default="fit", help="fit (default): 4 rates for every arm; nested: for every seed too; none")
        add("--against", default=None, metavar="LABEL", help="judge every arm against this one only")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an override for all arms, as mixer.heads=4")
    add("--out", default=None, help="the folder of runs, figures and report; the same folder goes on where it stopped")
    add("--dry-run", action="store_true", help="print what would be done and how long it would take")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code. Without `argv` this is the whole process, and its streams are ours."""
    if argv is not None:
        return _run(list(argv))
    streams.own()
    try:
        try:
            return _run(sys.argv[1:])
        finally:
            sys.stdout.flush()
    except streams.ReaderGone:
        return 0
    except streams.AnswerLost as error:
        print(f"blockyard: the answer cannot be written: {error}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
        print(f"blockyard: {unknown('verb', arguments[0], VERBS)}", file=sys.stderr)
        return 2
    try:
        options = parser().parse_args(arguments)
    except SystemExit as ended:  # help was asked for, or a word is wrong
        return int(ended.code or 0)
    if options.version:
        import blockyard

        print(blockyard.__version__)
        return 0
    if options.verb is None:
        parser().print_help()
        return 2
    try:
        answer = globals()[f"_{options.verb}"](options)
    except UsageError as error:
        print(f"blockyard: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # a path of ours is never that long
            raise
        print(f"blockyard: {error.strerror}: {str(error.filename)[:60]}...", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = shlex.join(["blockyard", *arguments])
        print(f"\nstopped; finished runs are kept. To go on: {again}", file=sys.stderr)
        return 130
    except RuntimeError as error:
        if type(error).__name__ != "WorkFailed":
            raise
        print(f"blockyard: the work failed: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(strict(answer[0]), allow_nan=False))
    elif answer[1]:
        print(answer[1])
    return 0


RULES = ("temperature", "top_k", "top_p", "min_p", "repetition", "seed")
DRAWING = {**dict.fromkeys(RULES), "stop": [], "ahead": 0, "int8_cache": False}  # unasked for: no search knows them
Answer = tuple[Any, str]  # the JSON document, and the same for a person


def _request(options: argparse.Namespace) -> dict[str, Any]:
    from blockyard.compare.compare import parse_overrides

    names = (
        "task", "params", "memory", "tokens", "flops", "minutes", "length", "batch", "device", "precision", "codec",
    )  # fmt: skip
    return {name: getattr(options, name) for name in names} | {"overrides": parse_overrides(options.set)}


def _compare(options: argparse.Namespace) -> Answer:
    from blockyard.compare.compare import compare

    result = compare(
        options.target, data=options.data, out=options.out, dry_run=options.dry_run, seeds=options.seeds,
        margin=options.margin, tuning=options.tuning, against=options.against, **_request(options),
    )  # fmt: skip
    if options.dry_run:
        return result.data, ""
    if not any(arm["finished"] for arm in result.arms):
        from blockyard.compare.pool import WorkFailed

        reasons = [f"  {arm['name']}: {'; '.join(arm['reasons'])}" for arm in result.arms]
        raise WorkFailed("\n".join(["every run of every arm failed", *reasons, f"see {result.data['report']}"]))
    return result.data, str(result)


def _train(options: argparse.Namespace) -> Answer:
    from blockyard.compare.single import train_one

    report = train_one(options.target, data=options.data, out=options.out, dry_run=options.dry_run, **_request(options))
    if "model" not in report:
        return report, ""
    return report, f"{report['score']:.4f} {report['unit']} on the test; the model is in {report['model']}"


def _eval(options: argparse.Namespace) -> Answer:
    from blockyard.compare.single import evaluate

    report = evaluate(options.model, options.data, options.length)
    for note in report["notes"]:
        print(note, file=sys.stderr)
    return report, f"{report['bits_per_byte']:.4f} bits/byte over {report['bytes']:,} bytes of {report['data']}"


def _generate(options: argparse.Namespace) -> Answer:
    from blockyard.compare.single import continue_text, search_text
    from blockyard.decode.rules import Rules

    prompt = _piped() if options.prompt == "-" else options.prompt
    if options.beams is not None:
        odd = [f"--{name.replace('_', '-')}" for name, value in DRAWING.items() if getattr(options, name) != value]
        if odd:
            raise UsageError(f"--beams searches, it does not know {', '.join(odd)}; leave out that or --beams")
        found = search_text(options.model, prompt, options.tokens, options.beams)
        return {"prompt": prompt, "beams": found}, "\n".join(f"{beam['score']:9.4f}  {beam['text']}" for beam in found)
    asked = {name: getattr(options, name) for name in RULES if getattr(options, name) is not None}
    rules = Rules(**{"temperature": 0.8, **asked})
    pieces, tokens, logprobs = [], [], []
    for step in continue_text(
        options.model, prompt, options.tokens, rules, options.stop, options.ahead, options.int8_cache
    ):
        piece = step.text[0] if step.text else ""
        pieces.append(piece)
        tokens.append(int(step.tokens))
        logprobs.append(float(step.logprobs))
        if not options.json:
            print(piece, end="", flush=True)
    if not options.json:
        print()
    return {"prompt": prompt, "text": "".join(pieces), "tokens": tokens, "logprobs": logprobs}, ""


def _piped() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8: the byte at offset {error.start} is none") from None


def _quantise(options: argparse.Namespace) -> Answer:
    from blockyard.compare.single import quantise_folder

    coverage = quantise_folder(options.model, options.out, options.bits, options.group, options.keep, options.wide)
    return vars(coverage) | {"model": options.out}, f"{coverage}\n{options.out} is a model like any other"


def _study(options: argparse.Namespace) -> Answer:
    from blockyard.study import run_study, status

    if options.name == "status":
        rows = status(options.out)
        return rows, "\n".join(line for row in rows for line in _findings(row))
    record = run_study(options.name, options.tier, options.out)
    return record, "\n".join(_findings(record))


def _findings(record: dict[str, Any]) -> list[str]:
    lines = [f"{record['study']}: {record['verdict']} ({record['tier']}, {record['seeds']} seeds, {record['date']})"]
    for p in record["predictions"]:
        value = "-" if p["value"] is None else f"{p['value']:.4g}"
        lines.append(f"  {p['verdict']:14} {p['text']} (value {value}, threshold {p['threshold']:.4g})")
    return lines


def _list(options: argparse.Namespace) -> Answer:
    from blockyard.core import registry

    kind = options.kind
    if kind not in (*registry.KINDS, *registry.ROOMS):
        raise unknown("kind", kind, (*registry.KINDS, *registry.ROOMS))
    rows = [
        {"name": e.name, "title": e.title, "family": e.header.get("Family")} for e in registry.entries(kind).values()
    ]
    rows = _chosen(rows, family=options.family)
    return rows, _columns(rows, "name", "title")


def _chosen(rows: list[dict[str, Any]], **wanted: str | None) -> list[dict[str, Any]]:
    """The rows that have what was asked for."""
    for column, value in wanted.items():
        known = {row[column] for row in rows if row[column]}
        if value is not None and value not in known:
            raise unknown(column, value, known)
        rows = [row for row in rows if value is None or row[column] == value]
    return rows


def _columns(rows: list[dict[str, Any]], *names: str) -> str:
    """Rows as lines, every column as wide as its widest entry."""
    widths = [max((len(row[name]) for row in rows), default=0) for name in names]
    return "\n".join("  ".join(f"{row[n]:{w}}" for n, w in zip(names, widths)).rstrip() for row in rows)


def _show(options: argparse.Namespace) -> Answer:
    from blockyard.core import registry

    kind, colon, name = options.name.partition(":")
    entry = registry.find(kind, name) if colon else registry.find("recipe", options.name)
    facts: dict[str, Any] = {
        "kind": entry.kind, "name": entry.name, "doc": entry.doc, "settings": entry.schema,
        "schema": {"type": "object", "properties": {n: s.json_schema() for n, s in entry.settings.items()}},
        "claims": entry.constant("claims"), "points": entry.constant("points"), "known": entry.constant("known"),
        "sizes": entry.constant("sizes"),
    }  # fmt: skip
    lines = [f"{entry.kind}:{entry.name}", "", entry.doc.rstrip()]
    if entry.settings:
        lines += ["", "settings", *(f"  {name} = {entry.schema[name]}\n      {setting.meaning} ({setting.accepts})"
                                    for name, setting in entry.settings.items())]  # fmt: skip
    for key in ("claims", "known", "sizes"):
        if facts[key]:
            lines += ["", key, *(f"  {k} = {v}" for k, v in facts[key].items())]
    if facts["points"]:
        lines += ["", f"points  {', '.join(facts['points'])}"]
    return facts, "\n".join(lines)


def _check(options: argparse.Namespace) -> Answer:
    from blockyard.check import check

    verdicts = [{"of": label, **verdict._asdict()} for label, verdict in check(options.name)]
    lines: list[str] = []
    for label in dict.fromkeys(v["of"] for v in verdicts):
        mine = [v for v in verdicts if v["of"] == label]
        lines += [label, *(f"  {'ok  ' if v['ok'] else 'FAIL'} {v['claim']:18} {v['reason']}".rstrip() for v in mine)]
    if not all(v["ok"] for v in verdicts):
        from blockyard.compare.pool import WorkFailed

        raise WorkFailed("a claim does not hold\n" + "\n".join(lines))
    return verdicts, "\n".join(lines)


def _catalogue(options: argparse.Namespace) -> Answer:
    from blockyard.catalogue import catalogue

    rows = _chosen(catalogue(), family=options.family, status=options.status)
    return rows, _columns(rows, "slug", "status", "title")


def _bench(options: argparse.Namespace) -> Answer:
    from blockyard.bench import describe, run

    names = ("length", "batch", "device", "precision", "rounds")
    rows = run(options.name, **{name: getattr(options, name) for name in names})
    return rows, describe(rows)
