"""The page and its routes: what they say is what the library says, and nothing else of this machine is shown."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import torch

pytest.importorskip("fastapi")
from models_to_serve import saved
from starlette.testclient import TestClient

import blockyard as by
from blockyard.core import registry
from blockyard.serve import pages
from blockyard.serve.app import make_app
from blockyard.serve.engine import Engine
from blockyard.serve.limits import Limits
from blockyard.serve.reports import Reports

LIMITS = Limits(rows=2, tokens=200)
OLD = Path(__file__).parent.parent / "compare" / "old"
FILE = (Path(pages.__file__).parent / "page.html").read_text(encoding="utf-8")
SECRET = "what lies beside the folder"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Comparisons: one that is finished, one under way, one damaged; a report alone; and what may not be shown."""
    root = tmp_path_factory.mktemp("all")
    runs, beside = root / "runs", root / "beside"
    shutil.copytree(OLD, runs / "old")
    (runs / "old" / "report.html").write_text("<p>the old report</p>")
    shutil.copytree(OLD, runs / "deep" / "new")
    (runs / "deep" / "new" / "result.json").unlink()
    events = (OLD / "events.jsonl").read_text().splitlines(keepends=True)
    (runs / "deep" / "new" / "events.jsonl").write_text("".join(events[:-1]) + events[-1][:20])
    late = runs / "deep" / "new" / "runs" / json.loads(events[-1])["finished"]
    (late / "result.json").unlink()
    (late / "log.jsonl").write_text('{"step": 7, "loss": 2.5, "seconds": 0.5}\n{"step": 8, "lo')
    (runs / "bad").mkdir()
    (runs / "bad" / "plan.json").write_text("{")
    (runs / "a <b>&").mkdir()
    (runs / "a <b>&" / "report.html").write_text("<p>a study</p>")
    beside.mkdir()
    (beside / "report.html").write_text(SECRET)
    (beside / "plan.json").write_text("{}")
    (runs / "other.html").write_text(SECRET)
    (runs / "link").symlink_to(beside)
    (runs / "linked").mkdir()
    (runs / "linked" / "report.html").symlink_to(beside / "report.html")
    return runs


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: Engine(name, saved(root / name, name), LIMITS) for name in ("llama", "gla")}


@pytest.fixture(scope="module")
def client(engines, folder):
    app = make_app(engines, LIMITS, reports=Reports(folder))
    return TestClient(app, raise_server_exceptions=False)  # no lifespan: nothing here needs the engines to turn


class Found(HTMLParser):
    """The attributes of a page, and the text of its style and script."""

    def __init__(self, text):
        super().__init__()
        self.attributes, self.inside, self.tag = [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tag = tag
        self.attributes += [(tag, *each) for each in attrs]

    def handle_data(self, data):
        if self.tag in ("style", "script"):
            self.inside[self.tag] = self.inside.get(self.tag, "") + data

    def handle_endtag(self, tag):
        self.tag = ""


def test_the_page_is_one_file_and_its_policy_lets_nothing_else_in(client):
    told = client.get("/")
    assert told.status_code == 200 and told.headers["content-type"] == "text/html; charset=utf-8"
    found = Found(told.text)
    rules = dict(rule.strip().split(" ", 1) for rule in told.headers["content-security-policy"].split(";"))
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(found.inside[tag].encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'self'" and rules["object-src"] == rules["base-uri"] == "'none'"
    assert rules["frame-ancestors"] == "'none'" and "connect-src" not in rules and "unsafe" not in str(rules)
    assert "--paper: #fdfdfc" in found.inside["style"], "it looks as reports look"
    assert pages.PLACE not in told.text and told.headers["x-content-type-options"] == "nosniff"


def test_no_address_elsewhere_and_no_way_for_markup(client):
    text = client.get("/").text
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]|@import|@font-face|url\(", text)
    loaded = [(tag, name, value) for tag, name, value in Found(text).attributes if name in ("src", "href", "action")]
    assert {value for _, _, value in loaded} == {
        "data:,", "#view", *(f"#{view}" for view in ("write", "state", "architecture", "runs", "catalogue")),
    }  # fmt: skip
    assert not [name for _, name, _ in Found(text).attributes if name.startswith("on") or name == "style"]
    ways = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|srcdoc|DOMParser|createContextual"
    assert not re.search(ways, FILE)


@pytest.mark.parametrize("name", ["llama", "gla"])
def test_a_model_is_told_as_the_library_counts_it(client, engines, name):
    told, model = client.get(f"/ui/models/{name}").json(), engines[name].model
    state = dict(told["state"])
    for length in (1, 16, 128):
        tokens = torch.randint(0, 256, (1, length))
        with torch.no_grad():
            assert state[length] == model(tokens, model.init_state(1)).state.nbytes
    assert list(state) == [2**i for i in range(17)]
    assert (state[65536] == state[1]) == (name == "gla"), "what is recurrent does not grow"
    assert told["params"] == sum(p.numel() for p in model.parameters()) and told["chat"] and told["tokens"] == 200
    shapes = {path: list(p.shape) for path, p in model.named_parameters()}
    assert {row["path"]: row["shape"] for row in told["tensors"]} == shapes
    first = next(row for row in told["tensors"] if row["path"] == "stem.table")
    assert first["axes"] == "vocab=256 × stream=32" and first["params"] == 8192
    assert told["steps"][0]["name"] == "stem:tokens" and told["steps"][1]["times"] == 2
    assert name in [row["name"] for row in client.get("/ui/models").json()]


def test_a_state_counts_in_the_precision_of_the_model():
    full, half = by.build("llama", size="tiny"), by.build("llama", size="tiny").to(torch.bfloat16)
    assert [n // 2 for _, n in pages.state_by_length(full)] == [n for _, n in pages.state_by_length(half)]


def test_how_far_a_model_can_be_read_is_said():
    found = dict(pages.state_by_length(by.build("gpt2", "tiny", length=64)))
    assert found[64] and found[128] is None


def test_drawings_are_those_of_draw(client, engines):
    from blockyard.diagram.outline import sketch

    told = client.get("/ui/drawing?of=llama&of=gla")
    assert told.text == sketch([(name, engines[name].model) for name in ("llama", "gla")])
    assert (
        told.headers["content-type"].startswith("image/svg+xml")
        and "sandbox" in told.headers["content-security-policy"]
    )
    assert client.get("/ui/drawing?of=llama&of=gla&of=gla").status_code == client.get("/ui/drawing").status_code == 400
    assert client.get("/ui/drawing?of=no").status_code == client.get("/ui/models/no").status_code == 404


def test_comparisons_are_listed_and_followed(client):
    rows = {row["folder"]: row for row in client.get("/ui/runs").json()["runs"]}
    assert set(rows) == {"old", "deep/new", "bad", "a <b>&", "linked"}
    assert rows["old"]["state"] == "finished" and rows["old"]["best"] and rows["old"]["arms"] == ["a", "gla"]
    assert rows["deep/new"]["state"] == "3 of 4 runs" and rows["deep/new"]["report"] is None
    assert "error" in rows["bad"] and rows["linked"]["report"] is None and not rows["a <b>&"]["comparison"]
    told = client.get("/ui/runs/deep/new").json()
    assert (told["done"], told["all"], len(told["runs"])) == (3, 4, 3) and told["runs"][0]["status"] == "finished"
    (run,) = told["under_way"]
    assert (run["step"], run["loss"]) == (7, 2.5) and run["age"] >= 0
    for name in ("no", "link", "a <b>&", "../beside", "..%2Fbeside", "%2Fetc", "old/runs", "old/%2E%2E/old", "old/"):
        assert client.get(f"/ui/runs/{name}").status_code == 404, name
    assert client.get("/ui/runs/bad").status_code == 400


def test_a_list_is_read_anew_when_something_was_written(folder, tmp_path):
    shutil.copytree(folder / "deep", tmp_path / "deep")
    reports = Reports(tmp_path)
    assert reports.listed()[0]["state"] == "3 of 4 runs"
    shutil.copy(OLD / "events.jsonl", tmp_path / "deep" / "new")
    assert reports.listed()[0]["state"] == "4 of 4 runs"


def test_a_report_is_opened_by_its_link_alone(client):
    rows = {row["folder"]: row for row in client.get("/ui/runs").json()["runs"]}
    told = client.get(rows["a <b>&"]["report"])
    assert told.text == "<p>a study</p>"
    policy = told.headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy and "allow-same-origin" not in policy and "default-src 'none'" in policy
    mark = parse_qs(urlsplit(rows["old"]["report"]).query)["mark"][0]
    for place in (
        "/ui/shown/old/report.html", "/ui/shown/old/report.html?mark=", "/ui/shown/old/report.html?mark=%C3%A4",
        f"/ui/shown/a%20%3Cb%3E%26/report.html?mark={mark}", f"/ui/shown/old/plan.json?mark={mark}",
        f"/ui/shown/report.html?mark={mark}", f"/ui/shown/old/%2E%2E/old/report.html?mark={mark}",
    ):  # fmt: skip
        assert client.get(place).status_code == 404, place


@pytest.mark.parametrize("name", ["../beside", "link", "linked", "old/../../beside", "/etc", "old\0", "."])
def test_no_mark_leads_out_of_the_folder(folder, name):
    """Even with a mark that this server made."""
    reports = Reports(folder)
    link = reports.link(name)
    assert reports.page(name, parse_qs(urlsplit(link).query)["mark"][0]) is None
    assert Reports(folder).link("old") != reports.link("old"), "another server, other links"


def test_links_need_no_key_and_all_else_does(engines, folder):
    client = TestClient(make_app({"gla": engines["gla"]}, LIMITS, ["k"], Reports(folder)))
    assert client.get("/").status_code == 200
    for path in ("/ui/runs", "/ui/models", "/ui/models/gla", "/ui/drawing?of=gla", "/ui/catalogue", "/ui/runs/old"):
        assert client.get(path).status_code == 401, path
    right = {"Authorization": "Bearer k"}
    rows = client.get("/ui/runs", headers=right).json()["runs"]
    link = next(row["report"] for row in rows if row["folder"] == "old")
    assert client.get(link).text == "<p>the old report</p>" and client.get(link[:-1]).status_code == 404


def test_without_a_folder_no_file_is_shown(engines):
    client = TestClient(make_app({"gla": engines["gla"]}, LIMITS))
    assert client.get("/ui/runs").json() == {"runs": None} and client.get("/ui/runs/old").status_code == 404
    assert client.get(f"/ui/shown/old/report.html?mark={'0' * 32}").status_code == 404


def test_places_share_a_counter(client):
    client.get("/ui/models/gla"), client.get(f"/ui/runs/{quote('deep/new')}")
    text = client.get("/metrics").text
    assert 'path="/ui",status="200"' in text and "deep" not in text


def test_the_catalogue_and_a_system(client, monkeypatch):
    kinds = ("mixer", "recipe", "study")
    carried = {"gla": [registry.find(kind, "gla") for kind in kinds]}
    monkeypatch.setattr("blockyard.catalogue.index.carriers", lambda: carried)
    monkeypatch.setattr(pages, "carriers", lambda: carried)
    pages._systems.cache_clear()
    try:
        rows = {row["slug"]: row for row in client.get("/ui/catalogue").json()}
        assert rows["gla"]["sources"] == [{"name": "arXiv 2312.06635", "link": "https://arxiv.org/abs/2312.06635"}]
        assert rows["gla"]["recipe"] == "gla" and rows["pre-crmsnorm"]["status"] == "planned" and len(rows) > 200
        told = client.get("/ui/catalogue/gla").json()
        assert "mixer:gla" in told["parts"] and told["study_verdict"]
        part, recipe, study = told["headers"]
        assert "S_t = diag(a_t) S_{t-1} + k_t v_t^T" in part["doc"] and part["claims"]["causal"] == "True"
        assert (
            recipe["sizes"][0] == "tiny" and "Transformer quality" in recipe["claim"] and study["title"].endswith("?")
        )
        assert client.get("/ui/catalogue/nothing").status_code == 404
    finally:
        pages._systems.cache_clear()


def test_a_folder_that_is_none_is_a_line(engines, capsys):
    from blockyard.cli import main

    where = str(Path(engines["gla"].words.where))
    assert main(["serve", where, "--runs", "nowhere"]) == 2
    assert "--runs nowhere is no folder" in capsys.readouterr().err
