"""Presets: which pair of models, with which settings, and where the settings come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from padlab.worlds import world

PROMPTS = 128  # of a world where no number is given


@dataclass(frozen=True)
class Preset:
    """One pair of models with the settings that go with its size.

    Args:
        name: what `load_pair` is given.
        student, teacher: what `load_model` is given; the student of a pruned preset is made from the teacher. In a
            world's presets: models (toy) or adapters for the embedded model (reading) in padlab's data.
        keep_blocks: number of transformer blocks kept in a depth-pruned student; 0 = the student is its own model.
        n: responses per prompt.
        temperature, top_p: sampling.
        max_new_tokens: tokens per response.
        learning_rate, epochs, prompts_per_step: training.
        prompts_per_pass: of a step, together through the network; more of them take more memory.
        lora: True = LoRA r 16 on all linear layers, False = full fine-tuning.
        alpha: weight of the selection probability in the calibrated reward, 0 to 1.
        token_kd: weight of token-level distillation beside the preference loss, >= 0; the method has none.
        beta: scale from nats/token to scores.
        world: where prompts, truth and selection question come from: "reading", "toy", or "" for open prompts.
        judge: adapter that answers the teacher's selection questions, in padlab's data; "" = the teacher itself.
        reply: how it answers them, "letter" or "text".
        settings_from: the source of these settings.
    """

    name: str
    student: str
    teacher: str
    keep_blocks: int = 0
    n: int = 4
    temperature: float = 1.0
    top_p: float = 0.95
    max_new_tokens: int = 48
    learning_rate: float = 2e-4
    epochs: int = 2
    prompts_per_step: int = 4
    prompts_per_pass: int = 1
    lora: bool = True
    alpha: float = 0.0
    token_kd: float = 0.0
    beta: float = 10.0
    world: str = ""
    judge: str = ""
    reply: str = "letter"
    settings_from: str = ""

    def sampling(self) -> dict[str, Any]:
        """Arguments of `padlab.sample_responses`, all but the seed.

        >>> PRESETS["toy"].sampling()
        {'n': 4, 'temperature': 1.0, 'top_p': 1.0, 'max_new_tokens': 12}
        """
        return {name: getattr(self, name) for name in ("n", "temperature", "top_p", "max_new_tokens")}

    def prompts(self, side: str, count: int | None = None, seed: int = 0) -> list[str] | None:
        """Prompts of the preset's world, 128 by default; None where it has no world, or the world no such side.

        Args:
            side: "train", "heldout", and "names" or "kinds" in the reading world.
            count, seed: how many, and which.

        >>> PRESETS["reading"].prompts("train", 1)[0][:13]
        'Read the note'
        """
        if not self.world or side not in world(self.world).SIDES:
            return None
        return world(self.world).prompts(count or PROMPTS, seed, world(self.world).SIDES[side])

    def quality(self) -> Callable[[str, str], float] | None:
        """The truth of the preset's world: (prompt, response) -> 0 to 1; None without a world."""
        return world(self.world).quality if self.world else None

    def training(self) -> dict[str, Any]:
        """Arguments of `padlab.distill`, all but the seed and the teacher; change some by `{**..., "alpha": 0.5}`.

        >>> PRESETS["toy"].training()["learning_rate"]
        0.0003
        """
        return {
            "loss": "ppd",
            "alpha": self.alpha,
            "beta": self.beta,
            "token_kd": self.token_kd,
            "learning_rate": self.learning_rate,
            "num_train_epochs": self.epochs,
            "per_device_train_batch_size": self.prompts_per_pass,
            "gradient_accumulation_steps": self.prompts_per_step // self.prompts_per_pass,
            "peft_config": "auto" if self.lora else None,
        }


_READING = {
    "world": "reading",
    "judge": "reading/judge",
    "reply": "text",
    "top_p": 1.0,
    "max_new_tokens": 8,
    "learning_rate": 5e-4,
    "epochs": 1,
    "prompts_per_pass": 4,  # short, and all begin alike
    "beta": 2.0,  # rewards of short answers lie far apart: at 10 nearly all probability is on one ranking
    "settings_from": "beta, rate: first tries on other held-out notes than those of docs/results.md; notes and passes: "
    "training names; the rest as first tried",
}
_TOY = {
    "world": "toy",
    "top_p": 1.0,
    "max_new_tokens": 12,
    "learning_rate": 3e-4,
    "epochs": 3,
    "prompts_per_step": 8,
    "lora": False,
    "alpha": 0.5,
    "settings_from": "rate: the best of three, measured in docs/results.md; the rest as first tried",
}
_CLASSROOM = {
    "max_new_tokens": 256,
    "learning_rate": 5e-5,
    "epochs": 1,
    "prompts_per_step": 16,
    "alpha": 0.5,
    "settings_from": "paper's beta, released scripts' sampling; LoRA rate of common practice, not measured by padlab",
}
_PAPER = {
    "max_new_tokens": 1024,
    "learning_rate": 8e-7,
    "epochs": 1,
    "prompts_per_step": 128,
    "lora": False,
    "alpha": 0.5,
    "settings_from": "Gu et al. 2025 (pair, beta 10, rate 8e-7, full fine-tuning, length 2,048); "
    "sampling n, T, top-p from the released scripts; not run by padlab",
}
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("tiny", "random", "random", n=4, max_new_tokens=12, learning_rate=5e-3, settings_from="for tests only"),
        Preset("reading", "reading/student", "reading/teacher", **_READING),
        Preset("reading-judge", "reading/student", "reading/careless-teacher", **{**_READING, "alpha": 0.5}),
        Preset("toy", "toy/toy-student", "toy/toy-teacher", **_TOY),
        Preset("toy-aligned", "toy/toy-aligned-student", "toy/toy-aligned-teacher", **_TOY),
        Preset(
            "pruned",
            "embedded",
            "embedded",
            keep_blocks=28,
            judge="judge",
            temperature=0.8,
            learning_rate=1e-3,
            token_kd=1.0,
            settings_from="temperature: the paper's; rate, token_kd: trials on training prompts (docs/results.md)",
        ),
        Preset("classroom", "HuggingFaceTB/SmolLM2-360M-Instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct", **_CLASSROOM),
        Preset("classroom-qwen", "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct", **_CLASSROOM),
        Preset("paper", "google/gemma-2-2b-it", "google/gemma-2-9b-it", **_PAPER),
        Preset("paper-llama", "meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", **_PAPER),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name; ValueError lists the names there are."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}. For other models use padlab.load_model")
    return PRESETS[name]
