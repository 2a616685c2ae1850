"""The peers' models and layers at our sizes. Their libraries are imported when one is built, never before.

A model comes with a function (module, ids) -> logits; a layer with `forward(x)`, `begin(x) -> state` after a prompt,
and `token(x, state) -> state`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Size = dict[str, int]


class Layer(NamedTuple):
    """One mixer as a bench sees it."""

    module: nn.Module
    forward: Callable[[Tensor], Tensor]
    begin: Callable[[Tensor], Any]
    token: Callable[[Tensor, Any], Any]


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


def mamba(dim: int) -> Layer:
    """Its plain form is a loop over tokens."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    config = MambaConfig(hidden_size=dim, state_size=16, expand=2, num_hidden_layers=1)
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


LAYERS: dict[str, Callable[[int], Layer]] = {
    "torch/sdpa": sdpa,
    "transformers/mamba": mamba,
    "transformers/mamba2": mamba2,
    "transformers/mamba2+chunk64": lambda dim: mamba2(dim, 64),
    "transformers/gated_deltanet": gated_deltanet,
}
