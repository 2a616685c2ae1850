"""RWKV-7 in the names of flash-linear-attention, against its recurrence written out from those names alone."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import layer_norm

from blockyard import UsageError
from blockyard.interop import load

H, K, D, V, LAYERS, TEXT = 3, 4, 12, 37, 3, 35
CONFIG = dict(
    model_type="rwkv7", architectures=["RWKV7ForCausalLM"], hidden_size=D, head_dim=K, num_heads=H, attn=None,
    num_hidden_layers=LAYERS, hidden_ratio=4.0, intermediate_size=20, decay_low_rank_dim=3, gate_low_rank_dim=5,
    a_low_rank_dim=2, v_low_rank_dim=4, hidden_act="sqrelu", norm_first=True, norm_bias=True, norm_eps=1e-3,
    vocab_size=V, value_dim=[D] * LAYERS, fuse_norm=True, attn_mode="chunk", tie_word_embeddings=False,
)  # fmt: skip


def tensors():
    draw = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)  # noqa: E731
    wide = lambda *shape: normal(*shape) * shape[-1] ** -0.5  # noqa: E731
    found = {"model.embeddings.weight": normal(V, D), "lm_head.weight": wide(V, D)}
    norms = ["model.norm", "model.layers.0.pre_norm"]
    for n in range(LAYERS):
        at = f"model.layers.{n}."
        norms += [at + "attn_norm", at + "ffn_norm", at + "attn.g_norm"]
        for name in "rwkvag":
            found[f"{at}attn.x_{name}"] = torch.rand(1, 1, D, generator=draw, dtype=torch.float64)
        for name in "rkvo":
            found[f"{at}attn.{name}_proj.weight"] = wide(D, D)
        for name, rank in dict(w=3, a=2, g=5, v=4).items():
            if name != "v" or n:
                found[f"{at}attn.{name}_lora.lora.0.weight"] = wide(rank, D)
                found[f"{at}attn.{name}_lora.lora.2.weight"] = normal(D, rank)
                if name != "g":
                    found[f"{at}attn.{name}_lora.lora.2.bias"] = normal(D)
        found |= {f"{at}attn.k_k": 1 + normal(D), f"{at}attn.k_a": 1 + normal(D), f"{at}attn.r_k": normal(H, K)}
        found[f"{at}ffn.x_k"] = torch.rand(D, generator=draw, dtype=torch.float64)
        found |= {f"{at}ffn.key.weight": wide(20, D), f"{at}ffn.value.weight": wide(D, 20)}
    for name in norms:
        found |= {f"{name}.weight": 1 + 0.3 * normal(D), f"{name}.bias": 0.3 * normal(D)}
    return found


def by_hand(p, text):
    """One token after the other; the state of a head is (value, key), as the paper has it."""
    norm = lambda x, name: layer_norm(x, (D,), p[f"{name}.weight"], p[f"{name}.bias"], 1e-3)  # noqa: E731
    last = {}
    states = [torch.zeros(H, K, K, dtype=torch.float64) for _ in range(LAYERS)]
    out = []
    for token in text.tolist():
        x = norm(p["model.embeddings.weight"][token], "model.layers.0.pre_norm")
        first = None
        for n in range(LAYERS):
            at = f"model.layers.{n}."
            u = norm(x, at + "attn_norm")
            xx = last.get((n, "attn"), torch.zeros_like(u)) - u
            last[n, "attn"] = u
            r, w, k, v, a, g = (u + xx * p[f"{at}attn.x_{name}"].flatten() for name in "rwkvag")
            thin = lambda u, name, act, at=at: (  # noqa: E731
                p[f"{at}attn.{name}_lora.lora.2.weight"] @ act(p[f"{at}attn.{name}_lora.lora.0.weight"] @ u)
                + p.get(f"{at}attn.{name}_lora.lora.2.bias", 0)
            )
            same = lambda u: u  # noqa: E731
            w = torch.exp(-torch.exp(-torch.nn.functional.softplus(-thin(w, "w", torch.tanh)) - 0.5))
            rate, gate, inside = thin(a, "a", same).sigmoid(), thin(g, "g", torch.sigmoid), v
            r, k, v = (p[f"{at}attn.{name}_proj.weight"] @ each for name, each in zip("rkv", (r, k, v)))
            first = v if n == 0 else first
            v = v if n == 0 else v + (first - v) * thin(inside, "v", same).sigmoid()
            unit = (k * p[f"{at}attn.k_k"]).view(H, K)
            unit = unit / (unit.square().sum(-1, keepdim=True) + 1e-6).sqrt()
            k = k * (1 + (rate - 1) * p[f"{at}attn.k_a"])
            r, w, k, v, rate = (each.view(H, K) for each in (r, w, k, v, rate))
            heads = []
            for h in range(H):
                S = states[n][h]
                S = S @ (torch.diag(w[h]) - torch.outer(unit[h], rate[h] * unit[h])) + torch.outer(v[h], k[h])
                states[n][h] = S
                heads.append(S @ r[h])
            y = layer_norm(torch.stack(heads), (K,), eps=K * 1e-3).flatten()
            y = y * p[f"{at}attn.g_norm.weight"] + p[f"{at}attn.g_norm.bias"]
            y = y + ((r * k * p[f"{at}attn.r_k"]).sum(-1, keepdim=True) * v).flatten()
            x = x + p[f"{at}attn.o_proj.weight"] @ (y * gate)
            u = norm(x, at + "ffn_norm")
            xx = last.get((n, "ffn"), torch.zeros_like(u)) - u
            last[n, "ffn"] = u
            hidden = p[f"{at}ffn.key.weight"] @ (u + xx * p[f"{at}ffn.x_k"])
            x = x + p[f"{at}ffn.value.weight"] @ hidden.relu() ** 2
        out.append(p["lm_head.weight"] @ norm(x, "model.norm"))
    return torch.stack(out)


def folder(path, numbers, **changed):
    path.mkdir(exist_ok=True)
    save_file(numbers, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(CONFIG | changed))
    return path


@torch.no_grad()
def test_a_folder_says_what_the_paper_says(tmp_path):
    numbers = tensors()
    text = torch.randint(0, V, (2, TEXT), generator=torch.Generator().manual_seed(1))
    expected = torch.stack([by_hand(numbers, row) for row in text])
    ours = load(folder(tmp_path / "a", numbers))
    assert expected.std() > 0.1 and (ours(text).logits - expected).abs().max() < 1e-9
    single = load(folder(tmp_path / "b", {name: t.float() for name, t in numbers.items()}))
    assert (single(text).logits - expected).abs().max() < 1e-4
    state, pieces = ours.init_state(2), []
    for piece in text.split([3, 1, 20, 11], 1):
        out = ours(piece, state)
        state = out.state
        pieces.append(out.logits)
    assert (torch.cat(pieces, 1) - expected).abs().max() < 1e-9


@pytest.mark.parametrize(
    "changed", [dict(attn={"layers": [1]}), dict(norm_first=False), dict(hidden_act="relu"), dict(value_dim=24),
    dict(head_dim=5), dict(num_heads=2), dict(made_up=1), dict(norm_bias=False)], ids=str,
)  # fmt: skip
def test_what_is_not_known_is_refused(changed, tmp_path):
    with pytest.raises(UsageError, match=next(iter(changed))):
        load(folder(tmp_path / "a", tensors(), **changed))
