"""The peers' models and layers at our sizes. Their libraries are imported when one is built, never before.

A model comes with a function (module, ids) -> logits; a layer with `forward(x)`, `begin(x) -> state` after a prompt,
and `token(x, state) -> state`, unless it only trains.
"""

import importlib.util
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from blockyard.kernels import force

Size = dict[str, int]


class Layer(NamedTuple):
    """One mixer as a bench sees it."""

    module: nn.Module
    forward: Callable[[Tensor], Tensor]
    begin: Callable[[Tensor], Any] | None = None
    token: Callable[[Tensor, Any], Any] | None = None


def transformers_llama(size: Size, length: int) -> tuple[nn.Module, Callable[[Any, Tensor], Tensor]]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size["vocab"], hidden_size=size["dim"], intermediate_size=size["ffn"],
        num_hidden_layers=size["layers"], num_attention_heads=size["heads"], max_position_embeddings=length,
        rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config), lambda module, ids: module(input_ids=ids, use_cache=False).logits


def x_transformers_llama(size: Size, length: int) -> tuple[nn.Module, Callable[[Any, Tensor], Tensor]]:
    from x_transformers import Decoder, TransformerWrapper

    head = size["dim"] // size["heads"]
    layers = Decoder(
        dim=size["dim"], depth=size["layers"], heads=size["heads"], attn_dim_head=head, attn_flash=True,
        rotary_pos_emb=True, rotary_emb_dim=head, use_rmsnorm=True, ff_glu=True, ff_swish=True, ff_no_bias=True,
        ff_mult=size["ffn"] / size["dim"],
    )  # fmt: skip
    model = TransformerWrapper(
        num_tokens=size["vocab"], max_seq_len=length, attn_layers=layers, use_abs_pos_emb=False, tie_embedding=True
    )
    return model, lambda module, ids: module(ids)


LLAMA = {"transformers": transformers_llama, "x-transformers": x_transformers_llama}


def _cached(module: Any, config: Any) -> Layer:
    """A recurrent layer of transformers, in plain torch as it runs without kernels from elsewhere."""
    from transformers import DynamicCache

    def begin(x: Tensor) -> Any:
        cache = DynamicCache(config=config)
        module(x, cache_params=cache)
        return cache

    def token(x: Tensor, cache: Any) -> Any:
        module(x, cache_params=cache)
        return cache

    return Layer(module, module, begin, token)


def mamba(dim: int, parallel: bool = False) -> Layer:
    """Its plain form is a loop over tokens; with mambapy, a parallel scan."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    if parallel:
        import_module("mambapy")  # without it the loop would run under this name
    config = MambaConfig(hidden_size=dim, state_size=16, expand=2, num_hidden_layers=1, use_mambapy=parallel)
    return _cached(MambaMixer(config, 0), config)


def mamba2(dim: int, chunk: int = 256) -> Layer:
    """At its default chunk, or at another."""
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(
        hidden_size=dim, num_heads=2 * dim // 64, head_dim=64, state_size=128, n_groups=1, expand=2, chunk_size=chunk,
        num_hidden_layers=1,
    )  # fmt: skip
    return _cached(Mamba2Mixer(config, 0), config)


def gated_deltanet(dim: int) -> Layer:
    from transformers import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    config = Qwen3NextConfig(
        hidden_size=dim, num_hidden_layers=1, layer_types=["linear_attention"], linear_num_key_heads=4,
        linear_num_value_heads=4, linear_key_head_dim=dim // 4, linear_value_head_dim=dim // 4,
    )  # fmt: skip
    return _cached(Qwen3NextGatedDeltaNet(config, 0), config)


class PlainAttention(nn.Module):
    """Projections around the framework's fused attention, and nothing else: no positions, no gate, no norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = scaled_dot_product_attention(q, k, v, is_causal=past is None)
        return self.out(y.transpose(1, 2).flatten(2)), (k, v)


def sdpa(dim: int) -> Layer:
    module = PlainAttention(dim, 4)
    return Layer(module, lambda x: module(x)[0], lambda x: module(x)[1], lambda x, past: module(x, past)[1])


def fla(op: str, function: str) -> Callable[..., Any]:
    """A plain function of flash-linear-attention from its own file: the package as a whole needs Triton."""
    found = importlib.util.find_spec("fla")
    folder = (found.submodule_search_locations or [""])[0] if found else ""
    file = importlib.util.spec_from_file_location(f"fla_{op}", Path(folder) / "ops" / op / "naive.py")
    assert file is not None and file.loader is not None
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    return getattr(module, function)


def _fla_gla(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, **_: Any) -> tuple[Tensor, None]:
    """A loop over tokens."""
    return fla("gla", "naive_recurrent_gla")(q * q.shape[-1] ** 0.5, k, v, log_decay)[0], None


def _fla_simple(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, **_: Any) -> tuple[Tensor, None]:
    return fla("simple_gla", "naive_chunk_simple_gla")(q, k, v, log_decay.squeeze(-1), scale=1.0)[0], None


def _fla_delta(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, **_: Any) -> tuple[Tensor, None]:
    q, k, v, beta = (t.transpose(1, 2) for t in (q * q.shape[-1] ** 0.5, k, v, beta))
    return fla("delta_rule", "delta_rule_chunkwise")(q, k, v, beta)[0].transpose(1, 2), None


def _fla_gated(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, **_: Any) -> tuple[Tensor, None]:
    scan = fla("gated_delta_rule", "naive_chunk_gated_delta_rule")
    return scan(q, k, v, log_decay, beta, scale=1.0)[0], None


def _around(mixer: str, scan: str, theirs: Callable[..., Any], dim: int) -> Layer:
    """A layer of ours around their scan, the rest in plain torch too; what decodes is left out."""
    from blockyard.bench.mixers import ours

    layer, home = ours(mixer, dim), f"blockyard.parts.mixer.linear.{mixer}.{scan}"

    def forward(x: Tensor) -> Tensor:
        with patch(home, theirs), force("chunked"):
            return layer.forward(x)

    return Layer(layer.module, forward)


LAYERS: dict[str, Callable[[int], Layer]] = {
    "torch/sdpa": sdpa,
    "transformers/mamba": mamba,
    "transformers/mamba+mambapy": partial(mamba, parallel=True),
    "transformers/mamba2": mamba2,
    "transformers/mamba2+chunk64": partial(mamba2, chunk=64),
    "transformers/gated_deltanet": gated_deltanet,
    "fla/gla": partial(_around, "gla", "decayed_scan", _fla_gla),
    "fla/retnet": partial(_around, "retnet", "decayed_scan", _fla_simple),
    "fla/deltanet": partial(_around, "deltanet", "delta_scan", _fla_delta),
    "fla/gated_deltanet": partial(_around, "gated_deltanet", "delta_scan", _fla_gated),
}
# a loop over tokens takes seconds a step, the others beyond this minutes a bench
FURTHEST = {name: 2048 for name in LAYERS if name != "torch/sdpa"} | {"transformers/mamba": 512}
