"""The rules of the house: who imports whom, what a header says, how large things grow, which options there are."""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from blockyard import cli
from blockyard.core import registry

ROOT = Path(registry.ROOT)
FILES = sorted(ROOT.rglob("*.py"))
LADDER = {  # a room imports only the rooms named here, and itself
    "core": set(),
    "kernels": {"core"},
    "data": {"core"},
    "predictor": {"core"},
    "family": {"core", "predictor"},
    "parts": {"core", "kernels"},
    "model": {"core", "kernels"},
    "transform": {"core", "kernels", "model", "data", "probe", "systems"},
    "decode": {"core", "model", "kernels"},
    "decoder": {"core", "model", "decode", "systems"},
    "probe": {"core", "model", "kernels", "predictor", "systems"},
    "optimiser": {"core", "model", "systems"},
    "blend": {"core", "model", "systems"},
    "environment": {"core"},
    "task": {"core", "data", "environment", "family", "predictor"},
    "source": {"core", "data", "model"},
    "train": {"core", "kernels", "data", "model", "transform", "decode", "optimiser"},
    "recipe": {"core"},
    "systems": {"core", "model", "recipe"},
    "runs": {"core"},
    "tracker": {"core", "systems"},
    "compare": {
        "runs",
        "core",
        "kernels",
        "data",
        "source",
        "task",
        "probe",
        "model",
        "transform",
        "decode",
        "train",
        "systems",
        "tracker",
        "interop",
    },
    "referee": {"core", "data", "task", "compare", "systems"},
    "study": {
        "core",
        "data",
        "compare",
        "model",
        "kernels",
        "probe",
        "predictor",
        "family",
        "transform",
        "decode",
        "decoder",
        "task",
        "train",
        "systems",
        "diagram",
    },
    "diagram": {"core", "kernels", "model"},
    "serve": {"core", "model", "decode", "decoder", "data", "interop", "saved", "diagram", "compare", "catalogue"},
    "saved": {
        "bench",
        "core",
        "data",
        "source",
        "task",
        "compare",
        "model",
        "transform",
        "decode",
        "decoder",
        "train",
        "interop",
        "blend",
        "systems",
    },
    "catalogue": {"core"},
    "check": {"core", "model", "decode", "task", "train", "systems", "catalogue"},
    "interop": {"core", "data", "model", "transform", "decode", "systems"},
    "bench": {
        "core",
        "kernels",
        "data",
        "model",
        "transform",
        "decode",
        "decoder",
        "train",
        "compare",
        "interop",
        "systems",
        "optimiser",
    },
}
ACTS = {  # the same inside the comparison: what a file of each of its rooms imports of the others
    "outcome": set(),
    "split": set(),
    "documents": {"outcome", "split"},
    "identity": {"documents"},
    "judge": {"documents"},
    "plan": {"documents", "identity", "judge", "split"},
    "run": {"documents", "identity", "plan"},
    "report": {"documents", "outcome", "judge", "plan"},
    "compare": {"documents", "identity", "judge", "plan", "run", "report", "split"},
    "verdict": {"outcome", "judge", "report"},
    "sizes": {"documents", "outcome", "judge", "plan", "run", "report", "compare"},
    "kept": {"documents", "outcome", "run", "report", "sizes"},
}
SMALL = {"parts": 200, "kernels": 600, "recipe": 60}
TRAINING = (
    "json data task params memory tokens flops minutes length batch codec device precision set out log index dry-run"
)
OPTIONS = {
    "compare": f"{TRAINING} seeds margin tuning against sweep gate within ram engine",
    "judge": "json arm seed pair score group weight step better margin alpha against out",
    "referee": "json out held-out effect seeds alpha tuning data task params memory tokens flops length batch codec "
    "device precision",
    "report": "json out",
    "runs": "json csv index",
    "train": f"{TRAINING} shard init rate",
    "adapt": "json with merge peft data task tokens flops minutes length batch device precision out dry-run rate",
    "merge": "json with base out",
    "eval": "json data tasks length limit num-fewshot score margin alpha against out",
    "forecast": "json steps out",
    "predict": "json out",
    "generate": "json prompt chat system tokens temperature top-k top-p min-p repetition-penalty stop beams "
    "num-speculative seed int8-cache",
    "serve": "json host port rows waiting tokens key runs adapter draft num-speculative",
    "export": "json to out",
    "quantise": "json bits group keep int8 out",
    "transform": "json data out",
    "shrink": "json with recover data task length batch device precision margin out",
    "study": "json tier out",
    "list": "json family tag",
    "show": "json",
    "draw": "json size inside out",
    "check": "json picture",
    "catalogue": "json family status",
    "bench": "json length batch device precision rounds",
}


def room(path):
    inside = path.relative_to(ROOT)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def code_lines(source):
    tree = ast.parse(source)
    prose = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
            prose |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = {t.start[0] for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in skip}
    return len(lines - prose)


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "blockyard")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_keeps_the_rules(path):
    source = path.read_text()
    tree, mine = ast.parse(source), room(path)
    assert code_lines(source) <= SMALL.get(mine, 400)
    for name in imports(tree):
        words = name.split(".")
        if words[0] != "blockyard" or mine in ("cli", "__init__", "__main__"):
            continue
        if len(words) > 1 and words[1] not in (mine, "__version__"):
            assert words[1] in LADDER[mine], f"{mine} imports {name}"
        if mine == "parts" and name.startswith("blockyard.parts."):
            assert words[2] == path.relative_to(ROOT).parts[1], f"no kind imports another: {name}"
        if len(words) > 2 and mine == words[1] == "compare" and path.parts[-2:] != ("compare", "__init__.py"):
            act = path.relative_to(ROOT / "compare").parts[0].removesuffix(".py")
            inside = act in ("documents", "outcome") and words[2] == "report"  # what prints, loaded where it is printed
            assert words[2] in ACTS[act] | {act} or inside, f"{act} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            positional = len(node.args.posonlyargs) + len(node.args.args)  # what belongs together is one structure
            assert node.end_lineno - node.lineno < 60 and positional <= 10, node.name
            if node.name == "__init__" and mine == "parts":
                assert node.args.kwarg is None, "a part's settings are its schema: no **kwargs"
                settings = node.args.kwonlyargs
                assert len(settings) <= 10
                booleans = [a for a in settings if isinstance(a.annotation, ast.Name) and a.annotation.id == "bool"]
                assert len(booleans) <= 2
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and mine == "parts":
            assert node.func.id != "hasattr", "what a part has belongs to its contract"


ENTRIES = [e for kind in (*registry.KINDS, *registry.ROOMS) for e in registry.entries(kind).values()]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}:{e.name}")
def test_a_header_says_what_it_must(entry):
    assert (
        entry.title.endswith(("?",) if entry.kind == "study" else ("?", ".") if entry.kind == "probe" else (".",))
        and len(entry.title) < 121
    )
    wanted = {"Source", "Family", "Differs"}
    wanted |= {"Shapes"} if entry.kind in (*registry.KINDS, "task") else set()
    wanted |= {"Claim"} if entry.kind in ("recipe", "study") else set()
    assert wanted <= set(entry.header), f"missing {wanted - set(entry.header)}"
    if entry.kind == "recipe":
        assert {"tiny"} <= set(entry.constant("sizes")) and len(entry.constant("knobs")) in (0, 3)


def test_rooms_stand_on_one_another_and_never_in_a_circle():
    for floors in (LADDER, ACTS):
        standing: set[str] = set()
        while len(standing) < len(floors):
            next_floor = {name for name, below in floors.items() if below <= standing} - standing
            assert next_floor, f"a circle among {floors.keys() - standing}"
            standing |= next_floor


def test_no_file_is_read_in_a_circle():
    """What files import when they are read, a package standing for its first file."""
    modules = {".".join(("blockyard", *path.relative_to(ROOT).with_suffix("").parts)): path for path in FILES}
    reads = {}
    for name, path in modules.items():
        found = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.ImportFrom) and node.level:
                package = name.split(".")[: -node.level]
                base = ".".join([*package, *([node.module] if node.module else [])])
                found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        reads[name] = {module for module in found if module in modules} - {name}
    while ready := {name for name, needs in reads.items() if not needs & reads.keys()}:
        reads = {name: needs for name, needs in reads.items() if name not in ready}
    assert not reads, f"these read one another: {sorted(reads)}"


NAMED = ("mixer", "channel", "residual", "position", "norm", "depth", "stem", "head")
FREE = (
    "parts",
    "recipe",
    "study",
    "task",
    "interop",
    "bench",
    "model",
)  # what asks for ends, other libraries' models, contestants, a harness
COMMON = {  # words of everybody, too
    "none", "tokens", "gated", "frames", "values", "classes", "batch", "experts", "stream", "shared", "cross",
    "bottleneck", "beside", "behind", "prefixed", "rotate", "replace", "capped", "group", "append", "transcoder",
    "chain", "embedding", "delta",
}  # fmt: skip


@pytest.mark.parametrize("path", [path for path in FILES if room(path) not in FREE], ids=lambda p: str(p.name))
def test_nothing_above_knows_a_part_by_name(path):
    known = {name for kind in NAMED for name in registry.entries(kind)} - COMMON - set(registry.entries("recipe"))
    tree = ast.parse(path.read_text())
    words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert not words & (known | {f"{kind}:{name}" for kind in NAMED for name in registry.entries(kind)})


def test_slugs_are_those_of_the_index():
    index = (ROOT / "catalogue" / "systems.csv").read_text()
    known = {line.split(",")[0] for line in index.splitlines()[1:]}
    used = {e.header["Slug"] for e in ENTRIES if "Slug" in e.header}
    assert used <= known and used


def test_options_are_frozen():
    verbs = cli.parser()._subparsers._group_actions[0].choices
    for verb, sub in verbs.items():
        found = {o[2:] for action in sub._actions for o in action.option_strings if o.startswith("--")} - {"help"}
        assert found == set(OPTIONS[verb].split()), verb
        assert "example: blockyard" in sub.format_help()


def test_names_and_specs_need_no_torch():
    code = (
        "import sys, blockyard\n"
        "from blockyard.core import registry\n"
        "assert blockyard.recipes() and registry.entries('mixer')['gla'].header['Slug'] == 'gla'\n"
        "blockyard.spec('olmo_hybrid', 'tiny', **{'mixer.heads': 2}).hash\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_project_speaks_of_itself_alone():
    for path in [*FILES, *ROOT.parent.glob("*.md"), *(ROOT.parent / "docs").glob("*.md"), ROOT.parent / "Makefile"]:
        text = path.read_text()
        assert "/work/" not in text and "TODO" not in text and "FIXME" not in text, path


def test_no_two_test_files_share_a_name():
    """One run of all tests could not collect them: outside packages a file's name is its module's."""
    names = [path.stem for path in (ROOT.parent / "tests").rglob("*.py") if path.stem not in ("__init__", "conftest")]
    assert sorted(names) == sorted(set(names))
