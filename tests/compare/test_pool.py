"""The pool of workers: everything said is heard, a death is mended once, and errors keep their kind."""

import subprocess
import sys

import pytest

from blockyard.compare.run import pool
from blockyard.core.errors import UsageError

SCRIPT = """
import json, os, sys
for line in sys.stdin:
    order = json.loads(line)
    if order.get("die") and not os.path.exists(order["die"]):
        open(order["die"], "w").close()
        os._exit(3)
    if order.get("always"):
        os._exit(3)
    if order.get("error"):
        print(json.dumps({"error": "no", "usage": order["error"] == "usage"}), flush=True)
        continue
    words = [json.dumps({"step": i, "loss": 1.0}) for i in range(order["says"])]
    print("\\n".join([*words, json.dumps({"done": order["n"]})]), flush=True)  # many lines in one write
    if order.get("last"):
        os._exit(3)
"""


class Order(dict):
    """What the pool needs of a document."""

    def to_json(self):
        return dict(self)


@pytest.fixture
def made(monkeypatch):
    def start(self):
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=pipe, stdout=pipe)

    monkeypatch.setattr(pool.Pool, "_start", start)
    with pool.Pool(2, 1) as workers:
        yield workers


@pytest.mark.timeout(60)
def test_lines_that_come_together_are_all_heard(made):
    heard = []
    orders = [Order(n=n, says=7 * n) for n in range(20)]
    answers = dict(made.run(orders, lambda number, message: heard.append((number, message["step"]))))
    assert answers == {n: n for n in range(20)}
    assert sorted(heard) == [(n, i) for n in range(20) for i in range(7 * n)]


@pytest.mark.timeout(60)
def test_a_death_is_mended_once(made, tmp_path):
    orders = [Order(n=0, says=1, die=str(tmp_path / "x")), Order(n=1, says=0)]
    assert dict(made.run(orders, lambda *_: None)) == {0: 0, 1: 1}
    with pytest.raises(pool.WorkFailed, match="died twice"):
        list(made.run([Order(n=0, always=True)], lambda *_: None))


@pytest.mark.timeout(60)
def test_a_death_between_two_orders_is_mended(made):
    """The worker is dead before it is given the next order: its pipe is broken, and ours is not."""
    orders = [Order(n=n, says=1, last=True) for n in range(4)]

    def until_one_is_dead(*_):
        while all(worker.poll() is None for worker in made.workers):
            pass

    answers = dict(made.run(orders, until_one_is_dead))
    assert answers == {n: n for n in range(4)}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind,error", [("usage", UsageError), ("bug", pool.WorkFailed)])
def test_errors_keep_their_kind(made, kind, error):
    with pytest.raises(error, match="no"):
        list(made.run([Order(n=0, error=kind)], lambda *_: None))
