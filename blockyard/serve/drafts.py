"""Who guesses ahead for the rows of a server: the text itself, or a smaller model of the same tokens."""

from dataclasses import dataclass

from blockyard.core.errors import UsageError
from blockyard.decode.ahead import Speculation
from blockyard.decoder.draft import Draft
from blockyard.decoder.prompt_lookup import PromptLookup
from blockyard.model.model import Model
from blockyard.saved.open import open_model

USUAL = 6  # guesses a forward where a draft is named and no number


@dataclass(frozen=True)
class Drafts:
    """What every model of a server is guessed for by; none of it draws, so that a seed writes what it writes without.

    num_speculative   guesses a forward
    model             that writes them, from `folder`; none: they are looked up in the text so far
    """

    num_speculative: int
    model: Model | None = None
    folder: str = ""

    @staticmethod
    def of(num_speculative: int | None, folder: str | None) -> "Drafts | None":
        """None where nobody is to guess."""
        if folder is None:
            return Drafts(num_speculative) if num_speculative else None
        if num_speculative == 0:
            raise UsageError(f"--draft {folder} guesses nothing with --num-speculative 0; leave one out")
        model, _ = open_model(folder)
        if not model.causal:
            raise UsageError(f"the draft {folder} sees the future; only a causal one writes token by token")
        return Drafts(num_speculative or USUAL, model, folder)

    def speculation(self, name: str, model: Model, longest: int) -> Speculation:
        """How a model of this name that reads so many tokens goes ahead; a draft of other or fewer is refused."""
        draft = self.model
        if draft is None:
            return Speculation(PromptLookup, self.num_speculative)
        own, theirs = (each.axes["stem.vocab"].size for each in (draft, model))
        if own != theirs:
            raise UsageError(f"the draft {self.folder} has a vocabulary of {own} tokens, {name} one of {theirs}")
        learned = draft.axes.get("stem.position.length")
        known = longest if learned is None else learned.size - draft.lead  # virtual tokens stand in the first ones
        if known < longest:
            raise UsageError(f"the draft {self.folder} has positions for {known} tokens, {name} reads {longest}; "
                             f"--tokens {known} makes them alike")  # fmt: skip
        return Speculation(lambda: Draft(draft, likeliest=True), self.num_speculative)
