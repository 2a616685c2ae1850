"""What a plan and its outcome say, in words and tables for a terminal; the page uses the same sentences."""

import math
from typing import Any

from blockyard.compare.plan import estimate
from blockyard.compare.progress import clock


def describe_plan(plan: dict[str, Any]) -> str:
    """The plan as a person reads it before anything is spent."""
    same = plan["same"]
    axes = ", ".join(f"{name} {amount:,.0f}" for name, amount in plan["matched"].items())
    trials = 0 if plan["tuning"] == "none" else len(same["rates"])
    equal = [f"{name} {value}" for name, value in same.items() if name not in ("rates", "rate_rule")]
    equal += [f"learning rates {same['rates']} x sqrt(64/dim)", f"margin {plan['margin']:.1%}"]
    columns = zip(
        ("params", "MFLOP/token", "train memory", "state at 8k", "tokens/s", "tokens"), (12, 13, 14, 13, 10, 12)
    )
    lines = [
        f"{len(plan['arms'])} architectures on {plan['data']['summary']}",
        f"matched: {axes}; {_seeds(plan)}, {trials} tuning trials {'a seed' if plan['tuning'] == 'nested' else 'each'}",
        f"same for all: {', '.join(equal)}",
        f"{'arm':20}" + "".join(f"{name:>{width}}" for name, width in columns),
    ]
    for arm in plan["arms"]:
        speed = plan.get("speed", {}).get(arm["id"])
        rate = f"{same['batch'] * same['length'] / speed['step']:,.0f}" if speed else "-"
        steps = plan.get("steps", {}).get(arm["id"])
        tokens = f"{steps * same['batch'] * same['length']:,}" if speed and steps else "-"
        lines.append(
            f"{arm['label']:20}{arm['params']:>12,}{arm['flops_per_token'] / 1e6:>13.2f}"
            f"{size(arm['peak_bytes']):>14}{size(arm['state_bytes']['8192']):>13}{rate:>10}{tokens:>12}"
        )
    if "speed" in plan:
        lines.append(f"estimated time: {clock(estimate(plan))}")
    return "\n".join(lines)


def _seeds(plan: dict[str, Any]) -> str:
    """The seeds of a plan, with its looks where there are several."""
    looks = plan["looks"]
    return f"{looks[0]} seeds" if len(looks) == 1 else f"looks at {', '.join(map(str, looks))} seeds"


def share(data: dict[str, Any], difference: float) -> str:
    """A difference as a part of what it is a difference of."""
    if data["metric"]["name"] != "loss":
        return f"{difference:.1%} of the answers"
    loss = next(arm["score"]["mean"] for arm in data["arms"] if arm["score"]["mean"] is not None)
    return f"{difference / loss:.1%} of the loss"


def size(count: float | None) -> str:
    """Bytes as 12.3 MB."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def describe(data: dict[str, Any]) -> str:
    """The ranking and what it means, as plain text."""
    plan, arms = data["plan"], data["arms"]
    best = next((arm for arm in arms if arm["score"]["mean"] is not None), None)
    gaps = {(p["a"], p["b"]): p for p in data["pairs"]}
    lines = [
        f"{'rank':6}{'arm':20}{data['metric']['unit']:>10}  {'behind the first':26}{'params':>10}{'MFLOP/tok':>10}"
        f"{'tok/s':>9}{'lr':>10}  runs"
    ]
    for arm in arms:
        mean = arm["score"]["mean"]
        rank = "-".join(map(str, arm["rank"])) if arm["rank"] else "-"
        lines.append(
            f"{rank:6}{arm['name'] + ' ' + arm['letters']:20}{'-' if mean is None else f'{mean:.4f}':>10}  "
            f"{_behind(gaps, best, arm):26}{arm['params']:>10,}{arm['flops_per_token'] / 1e6:>10.2f}"
            f"{arm['train_tokens_per_s']:>9,.0f}{arm['learning_rate']:>10.2e}{'*' if arm['edge_of_grid'] else ' '} "
            f"{arm['finished']} of {arm['finished'] + arm['failed']}"
        )
    return (
        "\n".join([*lines, "", *sentences(data)])
        + f"\nreport: {data.get('report') or '-'}"
        + ("" if plan["data"]["paths"] else f"\ndata: {plan['data']['summary']}")
    )


def _behind(gaps: dict[tuple[str, str], Any], best: Any, arm: dict[str, Any]) -> str:
    if best is None or arm is best:
        return "-"
    pair = gaps.get((arm["name"], best["name"]))
    sign = 1
    if pair is None:
        pair, sign = gaps.get((best["name"], arm["name"])), -1
    if pair is None:
        return "-"
    gap = f"{sign * pair['difference']:.4f}"
    if pair["low"] is None:
        return gap
    low, high = sorted((sign * pair["low"], sign * pair["high"]))
    return f"{gap} [{low:.4f}, {high:.4f}]"


def sentences(data: dict[str, Any]) -> list[str]:
    """What the figures say, and what they cannot say."""
    arms, lines = data["arms"], []
    best = [arm["name"] for arm in arms if arm["candidate"]]
    scored = [arm for arm in arms if arm["score"]["mean"] is not None]
    seeds = data["seeds"]
    if len(seeds) < 2:
        lines.append("One seed gives no verdict: run at least 2, better 3 (--seeds).")
    elif len(best) == 1 and len(scored) > 1:
        lines.append(f"Best: {best[0]}.")
    elif len(best) > 1:
        lines.append(f"Best: {' or '.join(best)}; this comparison cannot say which.")
    if len(scored) > 1 and not data["against"]:
        lines.append("Arms that share a letter are not resolved.")
    if data["against"]:
        lines.append(f"Every arm is held against {data['against']} only; ranks and letters say no more than that.")
    if data["references"]:
        told = ", ".join(f"{name} {value:.4f}" for name, value in data["references"].items())
        lines.append(f"Without training: {told}.")
    if any(arm["edge_of_grid"] for arm in arms):
        lines.append("* the best rate lies at the edge of the tuning grid.")
    if data["needed_difference"] and scored:
        lines.append(
            f"This budget could show differences of about {share(data, data['needed_difference'])} "
            f"({share(data, data['detectable'])} with 80% chance)."
        )
    lines += _resolution(data)
    if len(scored) > 1 and len(seeds) > 1:
        test = "test text" if data["metric"]["name"] == "loss" else "test examples"
        lines.append(
            f"These verdicts hold together at {1 - data['alpha']:.0%}: in at most about 1 of {1 / data['alpha']:.0f} "
            f"such comparisons does any of them err. They count seeds and {test}, not other data, sizes or budgets."
        )
    if data["looks"] > 1:
        looks = data["plan"]["looks"]
        lines.append(
            f"Look {looks.index(len(seeds)) + 1} of {len(looks)} that were declared "
            f"({', '.join(map(str, looks))} seeds); the error is shared among all of them."
        )
    lines += _unequal(arms) + _along(data)
    for arm in arms:
        if arm["failed"]:
            low, high = arm["failure_interval"]
            some = (
                ": its mean is of the finished runs, and it can be called worse, never better"
                if arm["finished"]
                else ""
            )
            lines.append(
                f"{arm['name']} failed in {arm['failed']} of {arm['failed'] + arm['finished']} runs "
                f"(true rate {low:.0%} to {high:.0%}){some}. Reason: {'; '.join(arm['reasons'])}."
            )
    if data["spread_ratio"] and data["spread_ratio"] > 2:
        lines.append(f"{data['noisiest']} has {data['spread_ratio']:.1f} times the spread of the others.")
    return lines


def _resolution(data: dict[str, Any]) -> list[str]:
    needed, margin = data["seeds_for_margin"], data["plan"]["margin"]
    if not needed:
        return []
    if needed["low"] is None:
        more = (
            f": the test text is too short, about {math.ceil(needed['more_text'])} times as much is needed"
            if needed["more_text"]
            else ""
        )
        return [f"To resolve {margin:.1%} (your margin) more seeds will not help{more}."]
    high = needed["high"] if needed["high"] is not None else "more than 100"
    span = str(high) if high == needed["low"] else f"{needed['low']} to {high}"
    return [f"To resolve {margin:.1%} (your margin): {span} seeds."]


def _along(data: dict[str, Any]) -> list[str]:
    """What the curves warn of."""
    if not data["along"]:
        return []
    minutes, crossing, lines = data["along"]["minutes"], data["along"]["crossing"], []
    if minutes:
        order = ", ".join(f"{name} {loss:.3f}" for name, loss in minutes["losses"])
        lines.append(
            f"At equal minutes ({minutes['minutes']:.3g} a run) the order of training losses would be about: {order}. "
            "An estimate from the middle of schedules, unkind to the slower arms."
        )
    if crossing:
        pairs = "; ".join(f"{a} and {b}" for a, b in crossing)
        lines.append(f"The order of these may change with 4 times the tokens: {pairs}.")
    return lines


def _unequal(arms: list[dict[str, Any]]) -> list[str]:
    """What was not held equal, where it differs by more than a tenth."""
    found = []
    for name, of in (
        ("minutes a run", lambda arm: arm["tokens"] / arm["train_tokens_per_s"] / 60),
        ("training operations", lambda arm: arm["flops"]),
        ("tokens", lambda arm: arm["tokens"]),
    ):
        low, high = min(arms, key=of), max(arms, key=of)
        if of(high) > 1.1 * of(low):
            found.append(f"{name} ({low['name']} {of(low):.3g}, {high['name']} {of(high):.3g})")
    return [f"NOT EQUAL: {'; '.join(found)}."] if found else []
