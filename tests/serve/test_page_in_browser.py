"""The page in a browser: it writes what the server says, complains of nothing, and asks no other machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from models_to_serve import saved

from tests.browser import CHROMIUM, Browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]
OLD = Path(__file__).parent.parent / "compare" / "old"
PROMPT = "Once <img src=x onerror=alert(1)> upon"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that asks for a key; its address without a path."""
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(OLD, root / "runs" / "a <i>name</i>")
    (root / "runs" / "a <i>name</i>" / "report.html").write_text(
        "<h1 id=x>report</h1><style>h1 { color: rgb(1, 2, 3) }</style>"
        "<script>document.getElementById('x').textContent = 'its script ran'</script>"
    )
    folders = [saved(root / name, name) for name in ("llama", "gla")]
    words = [sys.executable, "-m", "blockyard", "serve", *folders, "--port", "0", "--runs", str(root / "runs")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "BLOCKYARD_KEY": "k"})
    first = process.stderr.readline()
    found = re.search(r"a page at (http://127.0.0.1:\d+/)", first)
    assert found, first + process.stderr.read()
    threading.Thread(target=lambda: list(process.stderr), daemon=True).start()
    yield found[1]
    process.kill()
    process.wait()


def completion(server, **asked):
    request = urllib.request.Request(
        f"{server}v1/completions", json.dumps(asked).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer k"},
    )  # fmt: skip
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]


def set_to(**values):
    """A script that fills fields."""
    told = "; ".join(
        f"e = document.getElementById({name!r}); e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change'))"
        for name, value in values.items()
    )
    return f"(() => {{ let e; {told} }})()"


def text_of(selector):
    return f"[...document.querySelectorAll({selector!r})].map((x) => x.textContent).join('')"


def click(name):
    return f"document.getElementById({name!r}).click()"


def enter(page, server):
    """Open the page and give the key that it asks for."""
    page.open(server)
    page.until("!!document.querySelector('#door[open]')")
    page.run("document.getElementById('key').value = 'k'; document.querySelector('#knock .go').click()")
    page.until("document.getElementById('first').options.length == 2")
    page.wrong.clear()  # the browser itself notes the answer 401 that the page then asks a key for


@pytest.mark.parametrize("width, dark", [(1300, False), (400, True)])
def test_the_page_writes_shows_and_stays_at_home(server, tmp_path, width, dark):
    with Browser(tmp_path / "home", width, dark=dark) as page:
        enter(page, server)
        page.run(set_to(second="gla", prompt=PROMPT, tokens="24", temperature="0"))
        page.run(click("go"))
        page.until("!document.getElementById('go').disabled && !!document.querySelector('.pane .t')")
        for i, name in enumerate(("llama", "gla"), 1):
            wanted = completion(server, model=name, prompt=PROMPT, max_tokens=24, temperature=0, logprobs=6)
            pane = f".pane:nth-child({i})"
            assert page.run(text_of(f"{pane} .t")) == wanted["text"]
            assert page.run(text_of(f"{pane} .given")) == PROMPT
            assert "24 tokens" in page.run(text_of(f"{pane} .figures"))
            assert re.search(r"first token [\d.]+ s · [\d.]+ tokens/s", page.run(text_of(f"{pane} .figures")))
        page.run("document.querySelector('.out').focus()")
        page.press("End")
        told = page.run(text_of(".pane:nth-child(1) .near"))
        last = completion(server, model="llama", prompt=PROMPT, max_tokens=24, temperature=0, logprobs=6)["logprobs"]
        assert json.dumps(last["tokens"][-1], ensure_ascii=False) in told and "%" in told
        page.run("document.getElementById('chat').click()")
        page.run(set_to(prompt="hello <b>you</b>"))
        page.run(click("go"))
        page.until("!document.getElementById('go').disabled && !!document.querySelector('.turn .t')")
        assert "hello <b>you</b>" in page.run(text_of(".pane .given"))

        page.run("location.hash = '#state'")
        page.until("document.querySelectorAll('#chart .thick').length == 2")
        assert "4 KiB" in page.run(text_of("#bytes"))
        page.run("location.hash = '#architecture'")
        page.until("document.getElementById('sketch').naturalWidth > 0")
        page.run("location.hash = '#runs'")
        page.until("document.querySelectorAll('#comparisons li').length == 1")
        page.run("document.querySelector('#comparisons li a').click()")
        page.until("!!document.querySelector('#comparisons iframe')")
        assert (
            page.until(text_of("#comparisons h2")) == "a <i>name</i>"
            and page.run("document.title") == "blockyard: runs"
        )
        page.run("location.hash = '#catalogue/gla'")
        page.until("document.querySelectorAll('#systems pre').length > 1", 120)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run("document.querySelectorAll('main img[src=x], main b, main i').length") == 0
        assert page.run(text_of("#failed")) == "" and page.wrong == []
        assert page.urls and all(url.startswith((server, "blob:" + server, "data:")) for url in page.urls), page.urls


def test_stop_ends_an_answer_and_frees_its_row(server, tmp_path):
    with Browser(tmp_path / "home") as page:
        enter(page, server)
        page.run(set_to(prompt="a", tokens="4000"))
        page.run(click("go"))
        page.until("document.querySelectorAll('.pane .t').length > 3")
        page.run(click("stop"))
        page.until("!document.getElementById('go').disabled")
        assert page.run(text_of(".figures")).endswith("stopped") and page.wrong == []
        figures = "fetch('/metrics', {headers: {Authorization: 'Bearer k'}}).then((x) => x.text())"
        page.until(f'{figures}.then((x) => x.includes(\'blockyard_rows{{model="llama",state="running"}} 0.0\'))')


def test_a_report_is_shut_in(server, tmp_path):
    """Its script runs, and reaches nothing of the server's own page."""
    with Browser(tmp_path / "home") as page:
        enter(page, server)
        rows = page.run("fetch('/ui/runs', {headers: {Authorization: 'Bearer k'}}).then((x) => x.json())")["runs"]
        page.open(server.rstrip("/") + rows[0]["report"])
        page.until("!!document.getElementById('x')")
        assert page.run("self.origin") == "null" and page.run(text_of("#x")) == "its script ran"
        assert page.run("getComputedStyle(document.getElementById('x')).color") == "rgb(1, 2, 3)"
        with pytest.raises(AssertionError, match="SecurityError"):
            page.run("sessionStorage.length")
