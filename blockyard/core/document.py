"""Documents: frozen dataclasses with one way to JSON and back.

A field that an older document lacks takes its default, one that nobody knows any more is passed over; whatever else
does not fit is refused with the name of the field.
"""

from typing import Any, Self

import msgspec

from blockyard.core.errors import UsageError

Json = dict[str, Any]


class Document:
    """The base of every document; its fields are words, numbers, lists, dictionaries by word, and documents."""

    def to_json(self) -> Json:
        """Plain dictionaries, lists, words and numbers."""
        return msgspec.to_builtins(self, enc_hook=lambda value: value.item())  # the scalars of numpy

    @classmethod
    def from_json(cls, value: Json, where: object) -> Self:
        """What JSON gave as a document; `where` names it in the error."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise UsageError(f"{where} is damaged, or another document: {str(error)[:200]}") from None
