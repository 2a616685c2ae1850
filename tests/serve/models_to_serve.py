"""A small model in a folder, its weights moved away from where they start, with a chat template."""

import json

import torch

import blockyard as by
from blockyard.data.tokens import Bytes

TEMPLATE = """{% for m in messages %}
{%- if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('who is ' + m.role) }}{% endif -%}
<{{ m.role }}>{{ m.content }}
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""


def saved(folder, recipe, seed=0):
    model = by.build(recipe, "tiny", seed=seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape, generator=draw)
    model.save(folder, beside={"tokenizer.json": Bytes().to_json()})
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)
