"""The chat template of a bundle for LiteRT-LM: that of the tokenizer, where both read it alike.

Chat templates are programs in Jinja that Hugging Face keeps beside a tokenizer
(https://huggingface.co/docs/transformers/chat_templating). transformers gives them messages whose
content is a text. LiteRT-LM gives each content as a list of parts, and renders by another engine,
so a template goes into a bundle with lines before it that join the parts, and only if LiteRT-LM
makes of several chats what Jinja makes of them.
"""

import json
from collections.abc import Mapping, Sequence

from tfscale.device.bundle import BundleModel
from tfscale.errors import PromptError
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.given_names import CONFIG_FILE, json_object
from tfscale.text.tokenizers.hub_files import chat_templates

Message = Mapping[str, str]
PLAIN_TEXT = (
    "{% for m in messages %}{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{% endfor %}"
)
"""Template for a model of plain text: what is said is what it reads."""
_JOINED = (
    "{%- set given = namespace(messages=[]) -%}"
    "{%- for m in messages -%}"
    "{%- if m['content'] is string -%}"
    "{%- set content = m['content'] -%}"
    "{%- else -%}"
    "{%- set joined = namespace(text='') -%}"
    "{%- for part in m['content'] -%}"
    "{%- set joined.text = joined.text + part['text'] -%}"
    "{%- endfor -%}"
    "{%- set content = joined.text -%}"
    "{%- endif -%}"
    "{%- set given.messages = given.messages + [{'role': m['role'], 'content': content}] -%}"
    "{%- endfor -%}"
    "{%- set messages = given.messages -%}"
)
_CHATS: Sequence[Sequence[Message]] = (
    [{"role": "user", "content": " Hello, who is there?\n"}],
    [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two. "},
        {"role": "user", "content": "Three"},
    ],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
)
"""Chats that both render; a template may refuse some, such as a system message."""
_START = "\x02start\x03"
_SHOWN = 60


def bundle_template(tokenizer: Tokenizer) -> str:
    """Returns the template of a bundle: the tokenizer's own, or `PLAIN_TEXT` where it has none.

    LiteRT-LM puts the start token before a prompt itself, so the template writes none.

    Raises:
        TokenizerError: the tokenizer's template is no text.
    """
    template = chat_templates(tokenizer).get("default")
    if template is None:
        return PLAIN_TEXT
    end = json.dumps(_end(tokenizer), ensure_ascii=False)
    return f"{_JOINED}{{%- set bos_token = '' -%}}{{%- set eos_token = {end} -%}}{template}"


def misread(tokenizer: Tokenizer, bundle: BundleModel) -> str:
    """Compares what LiteRT-LM and Jinja make of chats by the tokenizer's own template.

    Args:
        tokenizer: has a template.
        bundle: was built with `bundle_template`.

    Returns:
        In words what is different, in texts or ids; "" where nothing is.
    """
    compared = 0
    for chat in _CHATS:
        try:
            expected = rendered(tokenizer, chat)
        except Exception as error:  # noqa: BLE001 - a template is a stranger's program.
            reason = f"{type(error).__name__}: {error}"
            continue
        compared += 1
        if expected.startswith(_START) != bool(tokenizer.prompt_start):
            first = _START in expected
            with_it, without = ("it", "LiteRT-LM") if first else ("LiteRT-LM", "it")
            return f"{with_it} puts a start token before a chat, and {without} does not"
        expected = expected.removeprefix(_START)
        if _START in expected:
            return "it writes the start token within a chat"
        found = bundle.render(chat)
        if found != expected:
            return f"LiteRT-LM makes {found[:_SHOWN]!r} of what is {expected[:_SHOWN]!r}"
        try:
            ids = tokenizer.encode(expected, parse_special=True)
        except PromptError as error:
            return str(error)
        if bundle.tokenize(expected) != ids:
            return f"LiteRT-LM cuts {expected[:_SHOWN]!r} into other tokens"
    return "" if compared else f"it renders no chat ({reason[:_SHOWN]})"


def rendered(tokenizer: Tokenizer, chat: Sequence[Message]) -> str:
    """Returns the prompt that transformers makes of a chat; a mark stands for the start token."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    template = environment.from_string(chat_templates(tokenizer)["default"])
    return template.render(
        messages=list(chat),
        add_generation_prompt=True,
        bos_token=_START,
        eos_token=_end(tokenizer),
    )


def _end(tokenizer: Tokenizer) -> str:
    """Returns the text of the end token, by which a template ends an answer."""
    named = json_object(tokenizer.given_files(), CONFIG_FILE, "tokenizer/original").get("eos_token")
    named = named.get("content") if isinstance(named, dict) else named
    return named if isinstance(named, str) else tokenizer.piece(tokenizer.end_id)
