"""Who guesses the next few tokens, for `speculate` to verify in one forward: the text is that of plain decoding.

    PromptLookup()            what followed the same last tokens earlier in the row
    Draft(model)              another model with the same vocabulary, with a state of its own
    SelfSpeculative(steps)    the model itself with some of its steps left out, on the state that it has

One of your own is a `Proposer`: it sees the `Rows` that run and answers with a `Proposal`.
"""

from blockyard.decode.propose import Proposal, Proposer, Rows
from blockyard.decoder.draft import Draft
from blockyard.decoder.prompt_lookup import PromptLookup
from blockyard.decoder.self_speculative import SelfSpeculative

__all__ = ["Draft", "PromptLookup", "Proposal", "Proposer", "Rows", "SelfSpeculative"]
