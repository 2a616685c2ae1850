"""What a request may say: the fields of OpenAI's interface that mean something here, and a few more.

A field that is not listed is refused, and so is a value that would be passed over in silence.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from blockyard.core.errors import UsageError
from blockyard.decode.rules import SamplingParams

Texts = str | list[str] | list[int] | list[list[int]]


class Asked(BaseModel):
    """What every request says."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    user: str | None = None


class Drawn(Asked):
    """How tokens are chosen; what is left out is as the model's folder says, else temperature 1."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] = 1
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    stream: bool = False
    stream_options: "StreamOptions | None" = None
    frequency_penalty: Literal[0] | Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Literal[0] | Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    def rules(self, usual: dict[str, Any], seed: int) -> SamplingParams:
        """How a token is chosen, where a folder says what is `usual`."""
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        return SamplingParams(**{**usual, **said, "seed": seed if self.seed is None else self.seed})

    def stops(self) -> list[str]:
        """The strings that end an answer."""
        found = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        if "" in found:
            raise UsageError("stop: a stop string holds at least one character")
        return found


class StreamOptions(BaseModel):
    """What a stream says besides its tokens."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class Completion(Drawn):
    """A text to continue, or several."""

    prompt: Texts
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool = False
    best_of: Literal[1] | None = None
    suffix: None = None


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """Who says what."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: str
    content: str | list[Part]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """As a template reads it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text} | ({"name": self.name} if self.name else {})


class Schema(BaseModel):
    """A JSON schema with its name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = "answer"
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class Form(BaseModel):
    """The form of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None

    def schema_of(self) -> dict[str, Any] | None:
        """What the answer is held to; None: nothing."""
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise UsageError("response_format: json_schema comes with a schema, and no other type does")
        return {"type": "object"} if self.type == "json_object" else self.json_schema and self.json_schema.schema_


class Chat(Drawn):
    """A conversation to go on with."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: Form | None = None


class Embedding(Asked):
    """Texts whose mean last states are asked for."""

    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: None = None
