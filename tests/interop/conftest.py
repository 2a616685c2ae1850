"""Random models of transformers, saved as it saves them."""

import contextlib
import copy
import inspect
import re

import pytest
import torch
from torch.overrides import TorchFunctionMode


class Double(TorchFunctionMode):
    """Casts to float32 give float64: classes that force single precision inside become exact enough to compare."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.float:
            return args[0].double()
        if kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        return func(*[torch.float64 if a is torch.float32 else a for a in args], **kwargs)


@contextlib.contextmanager
def precision(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with Double() if dtype is torch.float64 else contextlib.nullcontext():
            yield
    finally:
        torch.set_default_dtype(before)


def shake(model):
    """Every parameter away from its start: no gain of one, no bias of zero, weights large enough to bend things."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng, dtype=torch.float64).to(p.dtype)
            if p.dim() == 1 or name.endswith("A_log"):
                p.add_(0.3 * noise)
            else:
                p.copy_(noise * p.shape[-1] ** -0.5)


def built(model_type, dtype, settings):
    """A shaken model of the class for texts of a model type."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    plain = dict(vocab_size=37, pad_token_id=0, bos_token_id=0, eos_token_id=0)
    config = transformers.AutoConfig.for_model(model_type, **copy.deepcopy(plain | settings))
    config._experts_implementation = "eager"  # others are not made for double precision
    with precision(dtype):
        model = transformers.AutoModelForCausalLM.from_config(config).to(dtype).eval()
    shake(model)
    return model


def scored(model, tokens, **given):
    """Its logits, in double precision throughout where its weights are."""
    with precision(model.dtype):
        return model(tokens, use_cache=False, **given).logits


def settings_read(model_type):
    """What a class of theirs may read from config.json: its fields, what its files ask a config for, and inventions."""
    import transformers
    from transformers import masking_utils, modeling_utils

    config = transformers.CONFIG_MAPPING[model_type]
    model = transformers.MODEL_MAPPING[config]
    files = [inspect.getmodule(model), masking_utils, modeling_utils]
    text = "".join(inspect.getsource(file) for file in files)
    asked = set(re.findall(r"config\.([a-z_0-9]+)", text)) | set(
        re.findall(r'getattr\([a-z.]*config, "([a-z_]+)"', text)
    )
    return sorted(({*config().to_dict(), *asked} - {"model_type", "architectures", "dtype"}) | {"made_up"})


@pytest.fixture
def oracle(tmp_path):
    """A maker of (folder, model, function that runs the model) of a class of transformers and its settings."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def make(kind, dtype=torch.float32, shard="1GB", **settings):
        plain = dict(vocab_size=37, pad_token_id=0, bos_token_id=0, eos_token_id=0)
        config = getattr(transformers, f"{kind}Config")(**plain | settings)
        name = f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
        with precision(dtype):
            model = getattr(transformers, name)(config).to(dtype).eval()
        shake(model)
        model.save_pretrained(tmp_path / "theirs", max_shard_size=shard)

        def run(tokens):
            with precision(dtype):
                return model(tokens, use_cache=False).logits

        return tmp_path / "theirs", model, run

    return make
