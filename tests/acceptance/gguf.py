"""A model here, and its file in llama.cpp: seconds a token at batch 1, in turn, and whether both write the same text.

python -m tests.acceptance.gguf [ROUNDS]    a llama of 20M parameters in float32, and in 8 bits (8-bit weights here,
                                            q8_0 there), two threads each; ratios with the 90% interval over rounds

Each stands in a process of its own, so that no library's threads wait on those of another. The first round is left out.
"""

import json
import os
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

THREADS, PROMPT, NEW = 2, 16, 64
SIZE = dict(dim=384, layers=8, heads=6, ffn=1024, vocab=8192)  # 20M parameters, the table of a tied head among them


def made():
    """The model, with numbers that write something: the same in every process."""
    import torch

    import blockyard as by

    torch.set_num_threads(THREADS)
    model = by.build("llama", seed=1, **SIZE).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.copy_(torch.randn(p.shape, generator=draw) * p.shape[-1] ** -0.5)
    return model


def ids():
    import numpy as np

    return np.random.default_rng(0).integers(0, SIZE["vocab"], (1, PROMPT))


def ours(kind):
    """A function from a number of tokens to those that we write."""
    import torch

    import blockyard as by

    model = made()
    if kind != "f32":
        model, _ = by.quantise(model, 8)
    prompt, greedy = torch.from_numpy(ids()), by.SamplingParams(temperature=0)
    return lambda count: [int(step.tokens[0]) for step in by.generate(model, prompt, count, greedy)]


def theirs(path):
    """The same of llama.cpp and a file."""
    import llama_cpp
    import numpy as np

    there = llama_cpp.Llama(path, n_ctx=256, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)

    def write(count):
        there.reset()
        found, given = [], ids()[0].tolist()
        for _ in range(count):
            there.eval(given)
            logits = llama_cpp.llama_get_logits_ith(there.ctx, -1)
            found.append(int(np.ctypeslib.as_array(logits, (SIZE["vocab"],)).argmax()))
            given = found[-1:]
        return found

    return write


def stand(pipe, maker, what):
    """Answers numbers of tokens with the seconds that they took and the tokens, until it is told to stop."""
    write = maker(what)
    while (count := pipe.recv()) is not None:
        began = time.perf_counter()
        found = write(count)
        pipe.send((time.perf_counter() - began, found))


def a_token(pipe):
    """Seconds a token, without the prompt, and the text."""
    taken = []
    for count in (1, NEW):
        pipe.send(count)
        taken.append(pipe.recv())
    return (taken[1][0] - taken[0][0]) / (NEW - 1), taken[1][1]


def main(rounds):
    from blockyard.bench.measure import paired, used_by_others

    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(THREADS))
    import blockyard as by

    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipes = {}
        for kind in ("f32", "q8_0"):
            path = str(Path(folder) / f"{kind}.gguf")
            by.export(made(), to=f"gguf:{kind}", out=path)
            for name, maker, what in ((f"ours {kind}", ours, kind), (f"llama.cpp {kind}", theirs, path)):
                pipes[name], end = context.Pipe()
                context.Process(target=stand, args=(end, maker, what), daemon=True).start()
        seconds, texts = {name: [] for name in pipes}, {}
        for turn in range(-1, rounds):
            for name in list(pipes)[turn % 4 :] + list(pipes)[: turn % 4]:
                taken, texts[name] = a_token(pipes[name])
                if turn >= 0:
                    seconds[name].append(taken)
            print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
        for pipe in pipes.values():
            pipe.send(None)
    for kind in ("f32", "q8_0"):
        mine, other = f"ours {kind}", f"llama.cpp {kind}"
        ratio, low, high = paired(seconds[mine], seconds[other])
        same = next((i for i, (a, b) in enumerate(zip(texts[mine], texts[other])) if a != b), NEW)
        print(json.dumps({
            "kind": kind, "ours_ms": round(1e3 * sorted(seconds[mine])[rounds // 2], 3),
            "llama_cpp_ms": round(1e3 * sorted(seconds[other])[rounds // 2], 3),
            "llama.cpp / ours": [round(each, 3) for each in (ratio, low, high)], "same tokens": f"{same} of {NEW}",
        }))  # fmt: skip
    print(json.dumps({"rounds": rounds, "threads": THREADS, "cores used by others": used_by_others()}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
