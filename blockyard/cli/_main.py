"""The command line: `blockyard VERB TARGET...`.

Exit code 0: done; 1: the work failed; 2: the request is wrong, in a line or two; 130: stopped by Ctrl-C.
A verb may say more by others: a referee does.
Logs and progress go to standard error, answers to standard output; `--json` makes the answer one JSON document.
"""

import errno
import json
import sys
from collections.abc import Sequence

from blockyard.cli._grammar import odd, parser, renewed, verb
from blockyard.core import interrupt, streams
from blockyard.core.errors import UsageError, WorkFailed
from blockyard.core.files import strict


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
    try:
        return _answered(arguments)
    except UsageError as error:
        print(f"blockyard: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # a path of ours is never that long
            raise
        print(f"blockyard: {error.strerror}: {str(error.filename)[:60]}...", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(interrupt.farewell(arguments), file=sys.stderr)
        return interrupt.CODE
    except WorkFailed as error:
        print(f"blockyard: the work failed: {error}", file=sys.stderr)
        return 1


def _answered(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-"):  # a verb that nobody knows gets the nearest
        arguments = [arguments[0], *renewed(arguments[0], arguments[1:])]
    grammar = parser()
    try:
        options, more = grammar.parse_known_args(arguments)
    except SystemExit as ended:  # help was asked for, or a word is wrong
        return int(ended.code or 0)
    if more:
        raise odd(options.verb, more) if options.verb else UsageError(f"unrecognized arguments: {' '.join(more)}")
    if options.version:
        import blockyard

        print(blockyard.__version__)
        return 0
    if options.verb is None:
        grammar.print_help()
        return 2
    document, words, *code = verb(options.verb).run(options)
    if options.json and document is not None:
        print(json.dumps(strict(document), allow_nan=False))
    elif words:
        print(words)
    return int(code[0]) if code else 0
