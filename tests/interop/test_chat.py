"""Chat templates: the text that transformers makes of a conversation, and templates that are up to something."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models

import blockyard as by
from blockyard import UsageError
from blockyard.interop import chat
from blockyard.interop._render import answer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = """\
{{- bos_token }}
{%- if not date is defined %}
    {%- set date = strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' %}
{%- endif %}
{%- set ns = namespace(system='') %}
{%- if messages[0]['role'] == 'system' %}
    {%- set ns.system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date + '\\n\\n' + ns.system + '<|eot_id|>' }}
{%- for tool in tools or [] %}
    {{- tool | tojson(indent=4) }}
    {{- '\\n\\n' }}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'ipython' %}{% continue %}{% endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}
"""
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{% else %}"
    "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
THINKING = """\
{%- macro said(message) -%}
    {%- if message.content is string -%}{{ message.content }}{%- else -%}
        {%- for part in message.content -%}
            {{ part.text if part.type == 'text' else '<' ~ part.type ~ '>' }}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.reasoning_content is defined %}{{- '<think>' ~ message.reasoning_content ~ '</think>' }}{%- endif %}
    {{- said(message) }}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n' ~ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
TOOLS = """\
{% for tool in tools %}
    {{ tool.function.name ~ ': ' ~ tool | tojson }}
{% endfor %}
{% for message in messages %}
    {% if loop.index > 2 %}
        {% break %}
    {% endif %}
{{ loop.index }}. {{ message['role'] | title }}: {{ message['content'].strip().split('|')[-1] }}
{% endfor %}
{{ dict(a=1) | tojson }}{{ messages | map(attribute='role') | join(',') }}{{ pad_token }}{{ nothing }}
"""
TEMPLATES = dict(chatml=CHATML, llama3=LLAMA3, gemma=GEMMA, mistral=MISTRAL, thinking=THINKING, tools=TOOLS)
SPECIAL = {"bos_token": "<s>", "eos_token": {"content": "</s>", "special": True}, "image_token": "<image>"}
TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "sum <&> 'é'", "parameters": {"type": "object", "properties": {}}},
}
HELLO = [{"role": "user", "content": " hello\n| <s> é 🙂 "}]
LONGER = [*HELLO, {"role": "assistant", "content": "so"}, {"role": "user", "content": "and?"}]
SYSTEM = [{"role": "system", "content": "be brief"}, *LONGER]
CALLS = [
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]},
    {"role": "assistant", "content": "b", "thinking": "hm",
     "tool_calls": [{"function": {"name": "add", "arguments": {}}}]},
    {"role": "tool", "content": "3", "tool_calls": None},
]  # fmt: skip


APART = ("a long text", "a text that grows", "a long answer")  # what a limit of a process of its own stops


@pytest.fixture(autouse=True)
def here(request, monkeypatch):
    """Templates are rendered in this process, by the same program: a process for each takes ten times as long."""

    def run(command, input, capture_output):
        assert command[-1] == str(chat.PROGRAM) and capture_output
        return SimpleNamespace(returncode=0, stdout=json.dumps(answer(json.loads(input))).encode())

    if "apart" not in request.fixturenames and not any(f"[{name}]" in request.node.name for name in APART):
        monkeypatch.setattr("blockyard.interop.chat.subprocess.run", run)


@pytest.fixture
def apart():
    """What needs the process of its own."""


def folder_of(place, template=None, **config):
    place.mkdir(exist_ok=True)
    said = {**SPECIAL, **config} if template is None else {**SPECIAL, **config, "chat_template": template}
    (place / "tokenizer_config.json").write_text(json.dumps(said))
    return place


@pytest.fixture(scope="module")
def theirs():
    """The function of transformers behind apply_chat_template, with what a tokenizer gives it."""
    transformers = pytest.importorskip("transformers")
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>", image_token="<image>"
    )

    def made(template, messages, **how):
        words.chat_template = template
        return words.apply_chat_template(messages, tokenize=False, **how)

    return made


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_text_is_that_of_transformers(name, theirs, tmp_path):
    from jinja2 import TemplateError

    folder, agreed, refused = folder_of(tmp_path, TEMPLATES[name]), 0, 0
    asked = [(HELLO, {}), (LONGER, {"add_generation_prompt": False}), (SYSTEM, {}), (CALLS, {"enable_thinking": False})]
    asked += [(LONGER, {"tools": [TOOL]})] if "tools" in TEMPLATES[name] else []
    for messages, how in asked:
        if name == "tools" and "tools" not in how:
            continue
        try:
            wanted = theirs(TEMPLATES[name], messages, **{"add_generation_prompt": True, **how})
        except (TemplateError, TypeError) as error:
            with pytest.raises(UsageError) as caught:
                by.chat_prompt(folder, messages, **how)
            assert str(error) in str(caught.value) and "\n" not in str(caught.value)
            refused += 1
            continue
        assert by.chat_prompt(folder, messages, **how) == wanted
        agreed += 1
    assert agreed and (refused or name in ("chatml", "llama3", "thinking", "tools"))


def test_templates_by_name_and_place(tmp_path):
    several = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    folder = folder_of(tmp_path, several)
    assert by.chat_prompt(folder, HELLO) == "plain" and by.chat_prompt(folder, HELLO, tools=[TOOL]) == "tools"
    assert by.chat_prompt(folder, HELLO, template="tool_use") == "tools"
    with pytest.raises(UsageError, match="did you mean tool_use"):
        by.chat_prompt(folder, HELLO, template="tool_us")
    (tmp_path / "chat_templates").mkdir()
    (tmp_path / "chat_templates" / "rag.jinja").write_text("{{ documents[0].text }}")
    (tmp_path / "chat_templates" / "tool_use.jinja").write_text("other tools")
    with pytest.raises(UsageError, match="name one: rag, tool_use"):
        by.chat_prompt(folder, HELLO)
    assert by.chat_prompt(folder, HELLO, template="rag", documents=[{"text": "é"}]) == "é"
    (tmp_path / "chat_template.jinja").write_text("file {{ image_token }}")
    assert by.chat_prompt(folder, HELLO) == "file <image>"
    assert by.chat_prompt(folder, HELLO, tools=[TOOL]) == "other tools"
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        by.chat_prompt(folder, HELLO)


HOSTILE = {
    "a class that is printed": ("{{ messages.__class__ }}", "may not have"),
    "an attribute by name": ("{{ '' | attr('__class__') }}", "may not have"),
    "the template itself": ("{{ self._TemplateReference__context }}", "may not have"),
    "a class": ("{{ ''.__class__.__mro__ }}", "may not have"),
    "a frame": ("{{ (messages | map('upper')).gi_frame }}", "may not have"),
    "a helper's module": ("{{ raise_exception.__globals__ }}", "may not have"),
    "a namespace": ("{% set ns = namespace(__class__=1) %}", "a namespace has no '__class__'"),
    "a name set later": ("{% set ns = namespace() %}{% set ns.__init__ = 1 %}", "a namespace has no '__init__'"),
    "a format": ("{{ '{0.__class__}'.format(messages) }}", "may not have"),
    "a list of ours": ("{{ messages.append(1) }}", "may not have"),
    "a dictionary's class": ("{{ dict.mro() }}", "failed"),
    "a file": ("{% include '/etc/passwd' %}", "failed"),
    "a range": ("{% for i in range(10 ** 9) %}{% endfor %}", "Range too big"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "failed"),
    "a long text": ("{{ 'x' * 10 ** 10 }}", "MB and was stopped"),
    "a text that grows": (
        "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "MB and was stopped"),
    "a long answer": ("{% for i in range(20) %}{{ 'x' * 1000000 }}{% endfor %}", "MB and was stopped"),
    "half a tag": ("{% if", "cannot be used: line 1"),
    "a missing name": ("{{ missing.name }}", "failed"),
}  # fmt: skip


@pytest.mark.parametrize("template, why", HOSTILE.values(), ids=HOSTILE)
def test_a_template_that_is_up_to_something_is_refused(template, why, tmp_path):
    with pytest.raises(UsageError) as caught:
        by.chat_prompt(folder_of(tmp_path, template), HELLO)
    assert why in str(caught.value) and "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("template", [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "{{ 9 ** (9 ** 9) }}",
])  # fmt: skip
def test_a_template_without_an_end_is_stopped(template, apart, tmp_path, monkeypatch):
    monkeypatch.setattr("blockyard.interop.chat.SECONDS", 1)
    with pytest.raises(UsageError, match="ran for more than 1 seconds"):
        by.chat_prompt(folder_of(tmp_path, template), HELLO)


@pytest.mark.parametrize("messages, why", [
    ([], "one message at least"), ("hello", "one message at least"), ({"role": "user"}, "one message at least"),
    ([{"content": "x"}], "is no message"), (["x"], "is no message"), ([{"role": "user", "content": {1}}], "plain data"),
])  # fmt: skip
def test_what_is_no_conversation_is_told(messages, why, tmp_path):
    with pytest.raises(UsageError, match=why) as caught:
        by.chat_prompt(folder_of(tmp_path, CHATML), messages)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="has no chat template"):
        by.chat_prompt(folder_of(tmp_path), HELLO)


def test_the_child_finds_nothing_in_the_current_folder(apart, tmp_path, monkeypatch):
    """A jinja2.py where somebody works is no library."""
    (tmp_path / "jinja2.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert by.chat_prompt(folder_of(Path("words"), "{{ messages[0].role }}"), HELLO) == "user"
