"""How transformers opens a model of ours that is of none of its families: an import of this registers the classes.

    import blockyard.interop.auto
    model = transformers.AutoModelForCausalLM.from_pretrained("my-folder")
    model = transformers.AutoModel.from_pretrained("my-encoder")            # what reads both ways, or no ids

Nothing of the folder is run: its config.json has the spec, and the parts are those of this package.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import ModelOutput

from blockyard.core.batch import Batch
from blockyard.core.spec import Spec
from blockyard.core.state import State
from blockyard.interop.own import OWN
from blockyard.model.model import Model


class BlockyardConfig(PretrainedConfig):
    """A spec of ours as a configuration of theirs."""

    model_type = OWN

    def __init__(self, spec: dict[str, Any] | None = None, **more: Any) -> None:
        self.spec = spec
        super().__init__(**more)


class Past:
    """Our state as what `generate` hands on from one token to the next."""

    is_compileable = False

    def __init__(self, state: State) -> None:
        self.state = state

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many tokens it has read, fillers among them."""
        return self.state.positions.shape[1] - self.state.lead

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """The rows that beams go on with."""
        self.state = self.state.select(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row several times."""
        rows = torch.arange(len(self.state.length), device=self.state.length.device)
        self.state = self.state.select(rows.repeat_interleave(repeats))


class _Ours(PreTrainedModel):
    """A model of ours inside of a class of theirs."""

    config_class = BlockyardConfig
    base_model_prefix = ""

    def __init__(self, config: BlockyardConfig) -> None:
        super().__init__(config)
        self.inner = Model(Spec.from_json(config.spec))
        self._tied_weights_keys = _twice(self)
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Parts have drawn their own numbers."""

    def get_input_embeddings(self) -> Any:
        return None


class BlockyardModel(_Ours):
    """Any model of ours: what its head says, by name, and the stream that it read."""

    main_input_name = "input_ids"

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> ModelOutput:
        """`input_ids`: what our batch calls tokens: ids (B,T), images (B,H,W,C). Tensors of other names are what a stem
        or a tower reads besides: `kinds`, `source`, `source.valid`."""
        valid = None if attention_mask is None or bool(attention_mask.all()) else attention_mask.bool()
        held = {name: value for name, value in more.items() if isinstance(value, Tensor)}
        out = self.inner(Batch(input_ids, valid=valid, more=held))
        return ModelOutput({**out.prediction, "last_hidden_state": out.hidden})


class BlockyardForCausalLM(_Ours, GenerationMixin):
    """A model of ours with the forward that their tools call to write texts."""

    _is_stateful = True  # what it has read it cannot always forget, so nothing is drafted and taken back

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, past_key_values: Past | None = None,
        labels: Tensor | None = None, use_cache: bool | None = None, **_: Any,
    ) -> CausalLMOutputWithPast:  # fmt: skip
        """Logits; `past_key_values` to go on from; the loss of the next token where there are labels."""
        rows, length = input_ids.shape
        valid = None if attention_mask is None else attention_mask[:, -length:].bool()
        valid = None if valid is None or bool(valid.all()) else valid
        state = None if past_key_values is None else past_key_values.state
        if state is None and use_cache:
            state = self.inner.init_state(rows)
        out = self.inner(Batch(input_ids, valid=valid), state)
        loss = None if labels is None else self.loss_function(out.logits, labels, vocab_size=out.logits.shape[-1])
        past: Any = None if out.state is None or not use_cache else Past(out.state)
        return CausalLMOutputWithPast(loss=loss, logits=out.logits, past_key_values=past)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, past_key_values: Past | None = None, attention_mask: Tensor | None = None, **more: Any
    ) -> dict[str, Any]:
        """The tokens that the state has not read."""
        read = 0 if past_key_values is None else past_key_values.get_seq_length()
        return {
            "input_ids": input_ids[:, read:], "attention_mask": attention_mask, "past_key_values": past_key_values,
            "use_cache": more.get("use_cache"),
        }  # fmt: skip


def _twice(model: PreTrainedModel) -> dict[str, str]:
    """The names of tensors that have another, first name."""
    first: dict[int, str] = {}
    found = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(tensor), name) != name:
            found[name] = first[id(tensor)]
    return found


AutoConfig.register(OWN, BlockyardConfig, exist_ok=True)
AutoModel.register(BlockyardConfig, BlockyardModel, exist_ok=True)
AutoModelForCausalLM.register(BlockyardConfig, BlockyardForCausalLM, exist_ok=True)
