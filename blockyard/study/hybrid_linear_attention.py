"""How much attention does a linear recurrence need?

Source   arXiv 2507.06457    Slug  hybrid-linear-attention    Family  recurrent
Claim    recall rises with the share of attention, the loss on text hardly moves
Differs  4 layers: pure, 3 to 1 and 1 to 1; two recurrences of six
"""

from blockyard.study._base import Race, Study, better, level

RATIOS = {"pure": 9, "three": 3, "one": 1}


def arms(linear: str) -> tuple[str, ...]:
    """The same recurrence with no, a quarter and half of its layers attention."""
    return tuple(f"{name}=hybrid_linear_attention:linear={linear},ratio={ratio}" for name, ratio in RATIOS.items())


def study() -> Study:
    recall = {"params": "120k", "tokens": "1.5M", "batch": 32, "seeds": 3}
    text = {"params": "200k", "tokens": "300k", "seeds": 3, "margin": 0.03}
    task = "mqar:pairs=12,length=64,keys=32,values=32"
    return Study(
        races=(
            Race("recall, HGRN-2", arms("hgrn2"), task=task, options=recall),
            Race("recall, Gated DeltaNet", arms("gated_deltanet"), task=task, options=recall),
            Race("text, HGRN-2", arms("hgrn2"), options=text),
        ),
        predictions=(
            better("recall, HGRN-2", "three", "pure"),
            better("recall, HGRN-2", "one", "pure"),
            better("recall, Gated DeltaNet", "one", "pure"),
            level("text, HGRN-2", "one", "pure"),
        ),
    )
