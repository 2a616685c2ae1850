"""Rules that learn from the examples of a context alone: what a trained model's predictions are held against.

    w = ridge(x, y, 0.25)                       weights (...,d) from examples x (...,n,d), y (...,n)
    said = along(rules(noise=0.5)["ridge"], x, y)     (...,n) at each x from the examples before it
    squared_difference(said, of_a_model)        (n,) by how many examples were seen

Arrays are of numpy, in double precision.
"""

from blockyard.predictor.linear import (
    along,
    gradient_steps,
    implied_weights,
    inverse,
    least_squares,
    nearest,
    one_pass,
    one_step,
    recursive,
    ridge,
    rules,
    squared_difference,
    weight_difference,
)

__all__ = [
    "along", "gradient_steps", "implied_weights", "inverse", "least_squares", "nearest", "one_pass", "one_step",
    "recursive", "ridge", "rules", "squared_difference", "weight_difference",
]  # fmt: skip
