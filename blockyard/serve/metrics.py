"""What a server counts, as Prometheus reads it."""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from blockyard.serve.engine import Engine

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The figures of one server."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self.registry, self._engines = CollectorRegistry(), list(engines)
        given: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("blockyard_requests", "Requests answered", ["path", "status"], **given)
        self.tokens = Counter(
            "blockyard_tokens", "Tokens read, found in the store, written", ["model", "kind"], **given
        )
        self.first = Histogram(
            "blockyard_first_token_seconds", "Until the first token", ["model"], buckets=SECONDS, **given
        )
        self.whole = Histogram("blockyard_answer_seconds", "Until the last token", ["model"], buckets=SECONDS, **given)
        self.registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """What is true now."""
        rows = GaugeMetricFamily("blockyard_rows", "Requests that run and wait", labels=["model", "state"])
        store = GaugeMetricFamily("blockyard_store_bytes", "Bytes of kept prefixes", labels=["model"])
        guesses = CounterMetricFamily("blockyard_guesses", "Tokens guessed ahead, and held", labels=["model", "kind"])
        for engine in self._engines:
            running, waiting = engine.counts
            rows.add_metric([engine.name, "running"], running)
            rows.add_metric([engine.name, "waiting"], waiting)
            kept = engine.batch.store
            store.add_metric([engine.name], 0 if kept is None else kept.nbytes)
            guesses.add_metric([engine.name, "made"], engine.batch.counts.proposed)
            guesses.add_metric([engine.name, "held"], engine.batch.counts.accepted)
        yield rows
        yield store
        yield guesses

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self.registry)
