"""Documents: frozen dataclasses with one way to JSON and back.

A field that an older document lacks takes its default, one that nobody knows any more is passed over; whatever else
does not fit is refused with the name of the field.
"""

import dataclasses
from typing import Any, Self

import msgspec

from blockyard.core.errors import UsageError

Json = dict[str, Any]


class Document:
    """The base of every document; its fields are words, numbers, lists, dictionaries by word, and documents."""

    def to_json(self) -> Json:
        """Plain dictionaries, lists, words and numbers."""
        return _plain(self)

    @classmethod
    def from_json(cls, value: Json, where: object) -> Self:
        """What JSON gave as a document; `where` names it in the error."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise UsageError(f"{where} is damaged, or another document: {str(error)[:200]}") from None


def _plain(value: Any) -> Any:
    # by fields, not by what an instance holds: a default that a document did not say stands on its class
    if dataclasses.is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value  # the scalars of numpy
