"""What the pages show works: their Python runs, their commands parse, their words are those of the house."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import torch
from pages import PAGES, ROOT, blocks, own_package
from safetensors.torch import save_file

import blockyard as by
from blockyard import cli, systems
from blockyard.data.default import default_text

WITH_PYTHON = [path for path in PAGES if blocks(path, "python")]
COMMANDS = [
    pytest.param(line[2:], id=f"{path.name}:{line[2:]}")
    for path in PAGES
    for block in blocks(path, "console")
    for line in block.text.splitlines()
    if line.startswith("$ ")
]
OWN = "fading_average"  # the part that docs/adding-a-part.md adds


def their_llama(folder):
    """What transformers leaves for a Llama of one layer."""
    config = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, vocab_size=256)
    shapes = {f"model.layers.0.self_attn.{x}_proj.weight": (16, 16) for x in "qkvo"}
    shapes |= {f"model.layers.0.mlp.{x}_proj.weight": (24, 16) for x in ("gate", "up")}
    shapes |= {"model.layers.0.mlp.down_proj.weight": (16, 24), "model.embed_tokens.weight": (256, 16)}
    norms = ("layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm")
    shapes |= {f"model.{x}.weight": (16,) for x in norms} | {"lm_head.weight": (256, 16)}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    save_file({name: torch.randn(shape) for name, shape in shapes.items()}, folder / "model.safetensors")


@pytest.fixture
def desk(tmp_path):
    """A folder with the files that the pages speak of."""
    (tmp_path / "my.txt").write_bytes(b"".join(default_text().documents[:20]))
    their_llama(tmp_path / "their-llama")
    shown = [block.text for block in blocks(ROOT / "docs" / "adding-a-part.md", "python")]
    own_package(tmp_path, shown[0], shown[3])
    return tmp_path


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda path: path.name)
def test_the_python_of_a_page_runs(path, desk):
    """In order, one page in one process, as a reader would paste it."""
    runner = ["import sys, blockyard.compare.compare", "from tests.in_process import InProcess"]
    runner += ["sys.modules['blockyard.compare.compare'].Pool = InProcess", "page = {'__name__': 'page'}"]
    for block in blocks(path, "python"):
        text = "\n" * (block.line - 1) + block.text
        runner.append(f"exec(compile({text!r}, {path.name!r}, 'exec'), page)")
    (desk / "page_runner.py").write_text("\n".join(runner))
    env = os.environ | {"BLOCKYARD_CACHE": str(desk / "cache"), "PYTHONPATH": f"{desk}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "page_runner.py"], cwd=desk, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command):
    verb, *words = shlex.split(command)
    if verb == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M)
    elif verb == "blockyard":
        options = cli.parser().parse_args(words)
        for target in options.target if options.verb == "compare" else ():
            asked = systems.parse_arm(target)
            if asked.name != OWN:
                by.spec(asked.name, "tiny", **asked.overrides)
        if options.verb == "show" and options.name.startswith("./"):  # a model in a folder
            return
        if options.verb in ("show", "check", "study") and OWN not in options.name and options.name != "status":
            kind, colon, name = options.name.partition(":")
            default = "study" if options.verb == "study" else "recipe"
            assert systems.registry.find(kind if colon else default, name if colon else kind)


def test_a_wrong_command_is_caught():
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["compare", "llama", "--nonsense", "1"])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_words_and_links(path):
    text = path.read_text(encoding="utf-8")
    if path.name != "catalogue.md":  # the titles of papers are theirs
        assert not re.search(r"significant|winner|outperform|\btrends?\b", text, re.I)
    assert "/work/" not in text and "/tmp/" not in text
    assert max(map(len, re.sub(r"^\|.*$|^\$ .*$", "", text, flags=re.M).splitlines())) <= 130
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", prose):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_the_house_in_the_readme_is_the_house():
    shown = set(re.findall(r"^  (\w+)/ ", (ROOT / "README.md").read_text(), re.M))
    rooms = {path.parent.name for path in (ROOT / "blockyard").glob("*/*.py")}
    assert shown == rooms


def test_the_pages_build(tmp_path):
    for needed in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(needed)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(ROOT / "docs"), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
