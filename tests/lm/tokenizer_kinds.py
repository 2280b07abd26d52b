"""Tokenizers of every kind, built here in milliseconds, and chat templates for them."""

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

TEXTS = [
    "The quick brown fox jumps over the lazy dog. What is the capital of France? Paris is the capital.",
    "Please write the tag twice [ / INST ] < s > user assistant system model | < > Green fish swim in the sea.",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "0 1 2 3 4 5 6 7 8 9 \n \n\n \t . , : ; ! ? - ' \" ( ) [ ] { } < > | / _ # * @ & % $ ^ ~ `",
] * 5
CONTROL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]"]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
LLAMA_DECODER = [
    decoders.Replace("▁", " "),
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Strip(" ", 1, 0),
]
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "inst": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "plain words": (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    ),
    "trimmed": (
        "{{ bos_token }}{% for m in messages %}{{ '[INST]' + m['role'] + '\n' + m['content'] | trim + '[/INST]\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '[INST]assistant\n' }}{% endif %}"
    ),
}


def _bpe(pre=None, normalizer=None, decoder=None, added=(), bytes_=True, lower=False):
    raw = Tokenizer(models.BPE(byte_fallback=bytes_, unk_token="<unk>" if bytes_ else None))
    raw.pre_tokenizer = pre
    if normalizer is not None:
        raw.normalizer = normalizer
    raw.decoder = decoder or decoders.Sequence(LLAMA_DECODER)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if not bytes_ else []
    special = [*CONTROL, *(BYTES if bytes_ else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=620, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(TEXTS, trainer)
    return _wrap(raw, added)


def _wrap(raw, added=()):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(c, special=True) for c in CONTROL[3:]]})
    for token in added:
        tokenizer.add_tokens([token], special_tokens=token.special)
    return tokenizer


def metaspace(scheme, split=True):
    """As Llama's and Mistral's, with `prepend_scheme` first, always or never."""
    return _bpe(pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=split))


def llama_legacy():
    """The space before the text is put there by the normaliser, in every part between control tokens."""
    return _bpe(normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))


def byte_level(prefix_space=False, **more):
    """As GPT-2's."""
    return _bpe(
        pre_tokenizers.ByteLevel(add_prefix_space=prefix_space), decoder=decoders.ByteLevel(), bytes_=False, **more
    )


def unigram():
    """As T5's; control tokens are pieces of the vocabulary."""
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    raw.decoder = decoders.Metaspace(prepend_scheme="first")
    raw.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=200, special_tokens=CONTROL, unk_token="<unk>", show_progress=False)
    )
    return _wrap(raw)


def word_piece():
    """As BERT's: text is lower-cased, and words are split."""
    raw = Tokenizer(models.WordPiece(unk_token="<unk>"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=CONTROL, show_progress=False)
    )
    return _wrap(raw)


def normalised():
    """Control tokens that are found behind a lower-casing NFKC normaliser, so that <|IM_END|> is one too."""
    raw = byte_level().backend_tokenizer
    raw.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.add_tokens([AddedToken(c, normalized=True, special=False) for c in ("<|end|>", "<|start|>")])
    tokenizer.chat_template = TEMPLATES["chatml"].replace("im_", "")
    return tokenizer


def slow():
    """ByT5's: Python, bytes, control tokens not marked special."""
    tokenizer = ByT5Tokenizer(extra_ids=0)
    tokenizer.add_tokens([AddedToken(c, normalized=False) for c in ("<|im_start|>", "<|im_end|>", "[INST]", "[/INST]")])
    tokenizer.bos_token = "<pad>"
    return tokenizer


STRIPPING = [
    AddedToken("<|left|>", lstrip=True, special=True),
    AddedToken("<|right|>", rstrip=True, special=True),
    AddedToken("<|word|>", single_word=True, special=True),
    AddedToken("†", special=True),
]
STRIPPING_TEMPLATE = (
    "{% for m in messages %}{{ '<|right|> ' + m['role'] + ' <|word|> † ' + m['content'] + ' <|left|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|right|> assistant <|word|> †' }}{% endif %}"
)
KINDS = {
    "byte-level": byte_level,
    "byte-level, prefix space": lambda: byte_level(prefix_space=True),
    "metaspace first": lambda: metaspace("first"),
    "metaspace first, not split": lambda: metaspace("first", split=False),
    "metaspace always": lambda: metaspace("always"),
    "metaspace never": lambda: metaspace("never"),
    "llama legacy": llama_legacy,
    "unigram": unigram,
    "word piece": word_piece,
    "slow": slow,
}
LOSSLESS = [name for name in KINDS if name not in ("word piece", "unigram")]


def build():
    """(kind, template name) to tokenizer, each kind with each template, and two kinds with templates of their own."""
    made = {}
    for kind, make in KINDS.items():
        for name, template in TEMPLATES.items():
            tokenizer = make()
            tokenizer.chat_template = template
            made[kind, name] = tokenizer
    made["normalised", "own"] = normalised()
    stripping = byte_level(added=STRIPPING)
    stripping.chat_template = STRIPPING_TEMPLATE
    made["stripping", "own"] = stripping
    return made
