"""TransTab: an encoder of tables that reads columns by their names, pretrained to tell rows by parts of their columns.

Source   arXiv 2205.09328    Slug  transtab    Family  tables
Claim    one encoder serves tables of different columns, and what it learned of one helps with another
Differs  a table of hashed words, small unless a size says otherwise; half of the budget pretrains
"""

from typing import Annotated

from blockyard.core.settings import Dim, Heads, Inner, Layers, NonNegative, PhaseData, PhaseTask, Vocab
from blockyard.core.spec import (
    Spec,
    block,
    channel,
    depth,
    head,
    linear,
    mixer,
    model,
    objective,
    phase,
    residual,
    stem,
    system,
    transform,
)  # fmt: skip


def recipe(
    dim: Dim = 128, layers: Layers = 2, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 1024,
    pretraining: Annotated[NonNegative, "its share of the budget, below 1"] = 0.5, first_data: PhaseData = (),
    first_task: PhaseTask | None = None,
) -> Spec:  # fmt: skip
    attention = mixer("attention", heads=heads or max(1, dim // 16), position=None)
    elsewhere = bool(pretraining and (first_data or first_task))  # another table, whose columns are others
    before = phase(objective("contrastive"), share=pretraining, data=first_data, task=first_task)
    after = (transform("other_columns"),) if elsewhere else ()
    classify = phase(objective("classes"), share=1 - pretraining, apply=after)
    return system(
        model(
            dim=dim,
            stem=stem("named_columns", vocab=vocab),
            blocks=(block("layer", attention, channel("token_gate", inner=ffn)),),
            residual=residual("postnorm"),
            depth=depth("stack", layers=layers),
            head=head("first_token"),
            linear=linear("dense", bias=True),
            causal=False,
        ),
        *((before,) if pretraining else ()),
        classify,
    )


sizes = {"tiny": dict(dim=32, layers=2), "paper": dict(dim=128, layers=2, heads=8, ffn=256, vocab=30522)}
expect = {"paper": dict(params=(4_189_442, 0.0))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
