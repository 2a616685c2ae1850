"""A referee for many tries: change after change on a baseline, each answered keep, discard or undecided.

    import blockyard as by
    by.referee.init("llama", data="my.txt", params="100k", tokens="200k", effect="1%", out="tries")
    answer = by.referee.attempt("mixer.window=64", out="tries").answer
    print(by.referee.show("tries", held_out=True))

However many tries there are, and however they are chosen, the error is shared among them (levels.py); each takes as few
seeds as decide it (evidence.py); the noise and the stated effect say how many that may be (sight.py).
"""

from blockyard.referee.act import attempt, init, show
from blockyard.referee.ledger import Ledger, Look, Try

__all__ = ["Ledger", "Look", "Try", "attempt", "init", "show"]
