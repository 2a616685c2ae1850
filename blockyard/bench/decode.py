"""Writing text with a llama of 110M parameters and random weights: a prompt, then token after token, greedily.

    blockyard/*       generate() on a float32, a bfloat16 and a packed model; int4+ has every `down` in 8 bits, and so
                      reads as much as the peer's file, whose table takes 6
    transformers/*    generate() in bfloat16
    torchao/*         the same with weights of 8 bits, and of 4
    llama.cpp/*       llama-cpp-python on a file that `gguf` wrote, in its own 8 and 4 bits

A peer that is not installed is left out: pip install transformers torchao gguf llama-cpp-python

tokens_per_s        new tokens after the first, of all rows; what the prompt takes is not in it
prefill_per_s       tokens of one long prompt, up to the logits behind it
weight_bytes        what one step must read: every matrix, the head included
fraction_of_limit   weight_bytes a step over what this machine reads in that time (a large buffer, summed or squared)
divergence          mean KL of a contestant's next-token distributions from those of its own bfloat16, in nats
"""

import ctypes
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from blockyard.bench.measure import Row, Rows, Tell, aloud, cores, interleave
from blockyard.bench.process import Maker, contestants
from blockyard.core.errors import WorkFailed

SIZE = {"vocab": 32000, "dim": 768, "layers": 12, "heads": 12, "ffn": 2048}
PROMPT, NEW, LONG, STD = 128, 64, 512, 0.02
OURS = ("bfloat16", "int8", "int4", "int4+")
WIDE = {"int4+": ("*.down",)}
PEERS = {
    "transformers": ("bfloat16",), "torchao": ("int8", "int4"), "llama.cpp": ("BF16", "Q8_0", "Q4_0"),
}  # fmt: skip
PAIRS = {
    "bfloat16": ("transformers/bfloat16", "llama.cpp/BF16"),
    "int8": ("torchao/int8", "llama.cpp/Q8_0"),
    "int4": ("torchao/int4", "llama.cpp/Q4_0"),
    "int4+": ("llama.cpp/Q4_0",),
}
FTYPES = {"BF16": 32, "Q8_0": 7, "Q4_0": 2}  # of llama.cpp's file format


def prompt(rows: int, length: int, vocab: int) -> np.ndarray:
    """Ids (rows, length), the same for every contestant."""
    return np.random.default_rng(length).integers(0, vocab, (rows, length))


class Writes(Protocol):
    """What a contestant brings: greedy tokens, the logits behind every token of one row, bytes of its matrices."""

    def write(self, ids: np.ndarray, count: int) -> list[list[int]]: ...
    def read(self, ids: np.ndarray) -> Any: ...
    def bytes(self) -> int: ...


class Contestant:
    """The same questions for all of them."""

    def __init__(self, name: str, size: dict[str, int]) -> None:
        library, _, kind = name.partition("/")
        self.size, self.writer = size, MAKERS[library](kind, size)
        self.facts = {"bytes": self.writer.bytes()}

    def decode(self, rows: int) -> float:
        """Seconds a token of every row."""
        ids = prompt(rows, PROMPT, self.size["vocab"])
        taken = []
        for count in (1, NEW):
            began = time.perf_counter()
            written = self.writer.write(ids, count)
            taken.append(time.perf_counter() - began)
            assert all(len(row) == count for row in written)
        return (taken[1] - taken[0]) / (NEW - 1)

    def prefill(self) -> float:
        ids = prompt(1, LONG, self.size["vocab"])
        began = time.perf_counter()
        self.writer.write(ids, 1)
        return time.perf_counter() - began

    def logits(self) -> list[list[float]]:
        """Log-probabilities behind some tokens of a prompt."""
        found = torch.as_tensor(self.writer.read(prompt(1, PROMPT, self.size["vocab"]))).float()
        return found[-16:].log_softmax(-1).tolist()


class Ours:
    def __init__(self, kind: str, size: dict[str, int]) -> None:
        from blockyard.model.model import build
        from blockyard.systems import spec
        from blockyard.transform.quantise import quantise

        model = build(spec("llama", None, **size)).eval()
        torch.manual_seed(0)
        for p in model.parameters():
            if p.dim() == 2:  # as the peers' matrices, or divergences could not be compared
                torch.nn.init.normal_(p, std=STD)
        self.model: Any = model if kind == "float32" else model.bfloat16()
        if kind.startswith("int"):
            self.model, _ = quantise(self.model, 8 if kind[3] == "8" else 4, int8=WIDE.get(kind, ()))

    def write(self, ids: np.ndarray, count: int) -> list[list[int]]:
        from blockyard.decode.generate import generate
        from blockyard.decode.rules import SamplingParams

        steps = list(generate(self.model, torch.from_numpy(ids), count, SamplingParams(temperature=0)))
        return torch.stack([step.tokens for step in steps], 1).tolist()

    @torch.no_grad()
    def read(self, ids: np.ndarray) -> Tensor:
        return self.model(torch.from_numpy(ids)).logits[0]

    def bytes(self) -> int:
        from blockyard.decode.program import Program, refusal

        program = Program.of(self.model, 1, 1)
        if program is None:
            raise WorkFailed(f"it decodes as it trains: {refusal(self.model)}")
        return program.builder.read


class Transformers:
    def __init__(self, kind: str, size: dict[str, int]) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=size["vocab"], hidden_size=size["dim"], intermediate_size=size["ffn"],
            num_hidden_layers=size["layers"], num_attention_heads=size["heads"], max_position_embeddings=2048,
            tie_word_embeddings=True, eos_token_id=None, bos_token_id=None,
        )  # fmt: skip
        self.model: Any = LlamaForCausalLM(config).eval().bfloat16()
        if kind != "bfloat16":
            self._pack(kind)

    def _pack(self, kind: str) -> None:
        import torchao.quantization as quantisers  # pyright: ignore[reportMissingImports]

        if kind == "int8":
            config = quantisers.Int8WeightOnlyConfig()
        else:
            from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig  # pyright: ignore

            config = PrototypeInt4WeightOnlyConfig(group_size=64)
        head = self.model.lm_head  # it is packed, the table is not
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        quantisers.quantize_(self.model, config)
        self.model.forward = torch.compile(self.model.forward, dynamic=False)

    @torch.inference_mode()
    def write(self, ids: np.ndarray, count: int) -> list[list[int]]:
        how = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None, "max_new_tokens": count}
        if "forward" in vars(self.model):  # compiled: shapes that stay
            from transformers import StoppingCriteria, StoppingCriteriaList

            class Stop(StoppingCriteria):
                def __call__(self, found: Any, scores: Any, **_: Any) -> Any:
                    return torch.full((len(found),), found.shape[1] >= ids.shape[1] + count, dtype=torch.bool)

            how |= {"cache_implementation": "static", "max_new_tokens": NEW}
            how["stopping_criteria"] = StoppingCriteriaList([Stop()])
        return self.model.generate(torch.from_numpy(ids), **how)[:, ids.shape[1] :].tolist()

    @torch.inference_mode()
    def read(self, ids: np.ndarray) -> Tensor:
        return self.model(input_ids=torch.from_numpy(ids)).logits[0]

    def bytes(self) -> int:
        found = 0
        for module in self.model.modules():
            if isinstance(module, torch.nn.Linear):
                weight: Any = module.weight
                names = getattr(weight, "tensor_data_names", None)
                held = [weight] if names is None else [getattr(weight, n) for n in names]
                found += sum(t.numel() * t.element_size() for t in held if t is not None)
        return found


class LlamaCpp:
    """Through its C interface: nothing between it and the clock."""

    def __init__(self, kind: str, size: dict[str, int]) -> None:
        lib: Any = import_module("llama_cpp.llama_cpp")
        self.lib, self.vocab = lib, size["vocab"]
        self.folder = tempfile.TemporaryDirectory()
        path = _packed_file(Path(self.folder.name), kind, size)
        lib.llama_backend_init()
        how = lib.llama_model_default_params()
        how.n_gpu_layers = 0
        self.model = lib.llama_model_load_from_file(str(path).encode(), how)
        self.contexts: dict[int, Any] = {}

    def _context(self, rows: int) -> Any:
        if rows not in self.contexts:
            how = self.lib.llama_context_default_params()
            how.n_ctx, how.n_seq_max, how.n_batch, how.n_ubatch = 1024 * rows, rows, 1024 * rows, 512
            how.n_threads = how.n_threads_batch = cores()
            how.no_perf = True
            self.contexts[rows] = self.lib.llama_init_from_model(self.model, how)
        context = self.contexts[rows]
        self.lib.llama_memory_clear(self.lib.llama_get_memory(context), True)
        return context

    def _run(self, context: Any, ids: np.ndarray, begin: int, every: bool = False) -> list[np.ndarray]:
        rows, length = ids.shape
        batch = self.lib.llama_batch_init(rows * length, 0, 1)
        batch.n_tokens, wanted = rows * length, []
        for i, (row, place) in enumerate(np.ndindex(rows, length)):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(ids[row, place]), begin + place, 1
            batch.seq_id[i][0] = row
            batch.logits[i] = every or place == length - 1
            wanted += [i] if batch.logits[i] else []
        assert self.lib.llama_decode(context, batch) == 0
        found = [np.ctypeslib.as_array(self.lib.llama_get_logits_ith(context, i), (self.vocab,)).copy() for i in wanted]
        self.lib.llama_batch_free(batch)
        return found

    def write(self, ids: np.ndarray, count: int) -> list[list[int]]:
        context, written = self._context(len(ids)), []
        tokens, begin = ids, 0
        for _ in range(count):
            found = self._run(context, tokens, begin)
            begin += tokens.shape[1]
            tokens = np.array([[int(logits.argmax())] for logits in found])
            written.append(tokens[:, 0].tolist())
        return [list(row) for row in zip(*written)]

    def read(self, ids: np.ndarray) -> np.ndarray:
        return np.stack(self._run(self._context(1), ids, 0, every=True))

    def bytes(self) -> int:
        return int(self.lib.llama_model_size(self.model))


def _packed_file(folder: Path, kind: str, size: dict[str, int]) -> Path:
    """Random weights in the file format, then in one of its precisions."""
    gguf: Any = import_module("gguf")
    lib: Any = import_module("llama_cpp.llama_cpp")
    plain, packed, D, F = folder / "plain.gguf", folder / f"{kind}.gguf", size["dim"], size["ffn"]
    file, rng = gguf.GGUFWriter(str(plain), "llama"), np.random.default_rng(0)
    file.add_context_length(2048)
    file.add_embedding_length(D)
    file.add_block_count(size["layers"])
    file.add_feed_forward_length(F)
    file.add_head_count(size["heads"])
    file.add_head_count_kv(size["heads"])
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(D // size["heads"])
    file.add_vocab_size(size["vocab"])
    file.add_file_type(0)
    file.add_tokenizer_model("no_vocab")

    def add(name: str, *shape: int) -> None:
        whole = np.ones(shape) if len(shape) == 1 else STD * rng.standard_normal(shape)
        file.add_tensor(name, whole.astype(np.float32))

    add("token_embd.weight", size["vocab"], D)
    add("output_norm.weight", D)
    for i in range(size["layers"]):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{i}.{name}.weight", D, D)
        for name, *shape in (
            ("ffn_gate", F, D),
            ("ffn_up", F, D),
            ("ffn_down", D, F),
            ("attn_norm", D),
            ("ffn_norm", D),
        ):
            add(f"blk.{i}.{name}.weight", *shape)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    how = lib.llama_model_quantize_default_params()
    how.ftype, how.nthread = FTYPES[kind], cores()
    assert lib.llama_model_quantize(str(plain).encode(), str(packed).encode(), ctypes.byref(how)) == 0
    os.remove(plain)
    return packed


MAKERS: dict[str, Callable[[str, dict[str, int]], Writes]] = {
    "blockyard": Ours, "transformers": Transformers, "torchao": Transformers, "llama.cpp": LlamaCpp,
}  # fmt: skip


class Reader:
    """How fast this machine reads."""

    facts: dict[str, Any] = {}

    def __init__(self, megabytes: int) -> None:
        self.source = torch.ones(megabytes << 18)

    def read(self) -> float:
        """Bytes a second, by the faster of two ways."""
        taken = []
        for work in (self.source.sum, lambda: torch.dot(self.source, self.source)):
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
        return self.source.nbytes / min(taken)


def bench(
    *, batch: Sequence[int] | int = (1, 8), rounds: int = 5, quick: bool = False, size: dict[str, int] = SIZE,
    apart: bool = True, tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """All rows; `quick` is ours alone."""
    names = [f"blockyard/{kind}" for kind in OURS]
    if not quick:
        names += [f"{library}/{kind}" for library, kinds in PEERS.items() for kind in kinds]
    rows, shape = Rows("decode"), {"prompt": PROMPT, "new": NEW, **size}
    rows.load(shape, tell)
    makers: dict[str, Maker] = {name: ("decode:Contestant", {"name": name, "size": size}) for name in names}
    makers["machine"] = "decode:Reader", {"megabytes": 512 if apart else 1}
    with contestants(makers, keep=True, apart=apart, tell=tell) as stand:
        names = [name for name in stand if name != "machine"]
        reads: list[float] = []
        turn = {"machine": lambda: reads.append(stand["machine"].call("read")) or 0.0}
        for count in (batch,) if isinstance(batch, int) else batch:
            here = shape | {"batch": count}
            turns = {name: partial(stand[name].call, "decode", rows=count) for name in names}
            seconds = interleave(turns | turn, rounds, tell=tell, what=f"decode of {count}")
            for name in names:
                rows.add(name, "tokens_per_s", count / median(seconds[name]), "tokens/s", here)
                rows.add(name, "weight_bytes", stand[name].facts["bytes"], "B", here)
                reached = stand[name].facts["bytes"] / median(seconds[name]) / median(reads)
                rows.add(name, "fraction_of_limit", reached, "", here)
            _ratios(rows, seconds, "tokens_per_s", here)
        turns = {name: partial(stand[name].call, "prefill") for name in names}
        seconds = interleave(turns, rounds, tell=tell, what="prefill")
        for name in names:
            rows.add(name, "prefill_per_s", LONG / median(seconds[name]), "tokens/s", shape | {"prompt": LONG})
        _ratios(rows, seconds, "prefill_per_s", shape | {"prompt": LONG})
        _divergences(rows, stand, names, shape)
        rows.add("machine", "read_bytes_per_s", median(reads), "B/s", shape)
    return rows.rows


def _ratios(rows: Rows, seconds: dict[str, list[float]], of: str, shape: dict[str, Any]) -> None:
    for kind, peers in PAIRS.items():
        for peer in peers:
            rows.ratio(f"blockyard/{kind}", peer, of, seconds, shape)


def _divergences(rows: Rows, stand: dict[str, Any], names: list[str], shape: dict[str, Any]) -> None:
    """Each packed model beside its own library's bfloat16."""
    whole = {"blockyard": "blockyard/bfloat16", "torchao": "transformers/bfloat16", "llama.cpp": "llama.cpp/BF16"}
    known: dict[str, Tensor] = {}

    def logits(name: str) -> Tensor:
        if name not in known:
            known[name] = torch.tensor(stand[name].call("logits"), dtype=torch.float64)
        return known[name]

    for name in names:
        base = whole.get(name.partition("/")[0])
        if base is None or base == name or base not in stand:
            continue
        p, q = logits(base), logits(name)
        rows.add(name, "divergence", float((p.exp() * (p - q)).sum(-1).mean()), "nats", shape)
