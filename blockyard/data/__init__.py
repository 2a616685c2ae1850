"""Data: text of the user's own, split, tokenised, drawn in a seeded order and evaluated in block groups."""

from blockyard.data.corpus import Corpus, load_text
from blockyard.data.order import TrainOrder
from blockyard.data.windows import eval_windows

__all__ = ["Corpus", "TrainOrder", "eval_windows", "load_text"]
