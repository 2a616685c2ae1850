"""Runs on a Ray cluster: the same figures to the bit, and nothing twice when a machine is lost."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

import blockyard as by
from blockyard.cli import main
from blockyard.compare.run import cluster
from blockyard.compare.run.pool import Pool
from blockyard.core.errors import UsageError, WorkFailed

ASK = dict(params="40k", tokens="6k", length=32, batch=4, seeds=2, tuning="none", quiet=True, save_seconds=0.5)
MEMORY = 80 << 20  # bytes of each machine's object store


@pytest.fixture(scope="module")
def machines():
    """Two machines of one core each, the second of which may be lost."""
    pytest.importorskip("ray")
    os.environ.update(cluster.QUIET)
    from ray.cluster_utils import Cluster

    held = dict(num_cpus=1, object_store_memory=MEMORY)
    made = Cluster(initialize_head=True, head_node_args={**held, "include_dashboard": False})
    made.second = made.add_node(**held)
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = made.address
    yield made
    import ray

    ray.shutdown()
    made.shutdown()
    del os.environ["RAY_ADDRESS"]
    if before is not None:
        os.environ["RAY_ADDRESS"] = before


def facts(folder):
    """What must be the same to the bit: everything but times."""
    arms = json.loads((Path(folder) / "result.json").read_text())
    runs = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("runs/*/result.json"))]
    return arms["pairs"], [(run["key"], run["score"], run["groups"], run["curve"], run["depths"]) for run in runs]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_gives_the_bits_of_processes_and_loses_a_machine(machines, tmp_path, text, monkeypatch):
    monkeypatch.setattr("blockyard.compare.compare.Pool", Pool)
    arms = ["a=llama", "b=gla"]
    by.compare(arms, data=text, out=tmp_path / "pool", **ASK)
    out, stamps = tmp_path / "ray", {}

    def lose():
        """A machine, once a run has finished and others go on."""
        while not (done := list(out.glob("runs/*/result.json"))):
            time.sleep(0.05)
        stamps.update({path: path.stat().st_mtime_ns for path in done})
        machines.remove_node(machines.second, allow_graceful=False)

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    report = by.compare(arms, data=text, out=out, engine="ray", **ASK)
    thread.join(10)
    assert stamps and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert all(arm.finished == 2 for arm in report.arms) and facts(out) == facts(tmp_path / "pool")
    events = [json.loads(line)["finished"] for line in (out / "events.jsonl").read_text().splitlines()]
    assert len(events) == len(set(events)) == 4


class Order(dict):
    """What an engine needs of a document."""

    def to_json(self):
        return dict(self)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_deaths_and_errors_are_those_of_the_pool(machines, tmp_path, monkeypatch):
    """What an order says is done in the cluster."""

    def work(number, order, threads, where, post):  # by value: processes of the cluster find no test
        import os
        import time

        for i in range(order.get("says", 0)):
            post.put.remote(number, {"step": i})
        if order.get("always") or (order.get("die") and not os.path.exists(order["die"])):
            open(order["die"], "w").close()
            os._exit(3)
        if "usage" in order:
            return {"error": "no", "usage": order["usage"]}
        time.sleep(1.0)
        return {"done": order["n"]}

    monkeypatch.setattr(cluster, "_work", work)
    heard = []
    with cluster.Cluster(1, 1) as made:
        assert made.count >= 1
        orders = [Order(n=0, says=3), Order(n=1, die=str(tmp_path / "x"))]
        assert dict(made.run(orders, lambda *said: heard.append(said))) == {0: 0, 1: 1}
        assert [said for said in heard if said[0] == 0] == [(0, {"step": i}) for i in range(3)]
        with pytest.raises(WorkFailed, match="died twice"):
            list(made.run([Order(n=0, always=True, die=str(tmp_path / "y"))], lambda *_: None))
        for usage, kind in ((True, UsageError), (False, WorkFailed)):
            with pytest.raises(kind, match="no"):
                list(made.run([Order(n=0, usage=usage)], lambda *_: None))


def test_a_machine_on_which_figures_would_be_others_is_refused(tmp_path, text, monkeypatch):
    from blockyard.compare.identity import key_of
    from blockyard.compare.plan.plan import Request, make_job, make_plan
    from blockyard.compare.run.store import Store

    plan = make_plan(Request(("llama",), (text,), params=40e3, tokens=2e3, length=32, batch=4), lambda _: None)
    plan.steps[plan.arms[0].id] = 1
    job = make_job(plan, plan.arms[0], "final", 0, 1e-3)
    store = Store(tmp_path / "out", plan)
    order = store.order(job, key_of(job), plan.arms[0]).to_json()
    with pytest.raises(UsageError, match=r"does not see .*--engine ray needs a folder of all"):
        cluster._check(order)
    store.write_plan()
    cluster._check(order)
    monkeypatch.setattr("blockyard.compare.identity.loops", lambda: "another")
    with pytest.raises(UsageError, match="has another torch, numba or kind of machine"):
        cluster._check(order)


def test_what_is_no_engine_and_what_is_not_installed_is_refused(capsys, monkeypatch, tmp_path, text):
    assert main(["compare", "llama", "gla", "--engine", "rya"]) == 2
    assert "unknown engine 'rya'; did you mean ray" in capsys.readouterr().err
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    words = ["compare", "llama", "gla", "--engine", "ray", "--data", text, "--out", str(tmp_path / "out")]
    assert main([*words, "--params", "40k", "--tokens", "2k"]) == 2
    assert "--engine ray needs a library: pip install 'blockyard[ray]'" in capsys.readouterr().err
