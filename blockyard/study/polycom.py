"""Do learned polynomials as activations end lower than the fixed ones, of as many parameters?

Source   arXiv 2411.03884    Slug  polycom    Family  foundations
Claim    PolyNorm ends lower than SwiGLU and GELU, and PolyReLU no worse than squared ReLU
Differs  sixty thousand parameters on bytes for a hundred steps of one rate; no mixture of experts
"""

from blockyard.study._base import Race, Study, better, level

ARMS = (
    "poly_norm=polycom",
    "poly_relu=polycom:activation=poly_relu",
    "squared_relu=polycom:activation=squared_relu",
    "gelu=polycom:activation=gelu",
    "relu=polycom:activation=relu",
    "swiglu=llama",
)


def study() -> Study:
    options = {"params": "60k", "tokens": "200k", "seeds": 3, "margin": 0.01, "tuning": "none"}
    return Study(
        races=(Race("text", ARMS, options=options),),
        predictions=(
            better("text", "poly_norm", "gelu"),
            better("text", "poly_norm", "swiglu"),
            level("text", "poly_relu", "squared_relu"),
        ),
    )
