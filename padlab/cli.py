"""The stages on the command line, over a run folder.

    padlab sample   RUN                                 phase 1: the student's responses
    padlab score    RUN --selection pairwise            phase 2: rewards, selection probabilities
    padlab distill  RUN                                 phase 3: train the student; --rounds K: all phases, K times
    padlab evaluate RUN                                 before and after on held-out prompts
    padlab import   FILE RUN                            ranked responses instead of phases 1 and 2
    padlab benchmark NAME --run RUN                     AlpacaEval 2, Arena-Hard, MT-Bench or GSM8K
    padlab doctor   MODEL                               can this model be a teacher or student?
    padlab inspect  --prompt TEXT --responses FILE      what do both models prefer? a page, and JSON
    padlab prepare-judge FOLDER                         an adapter that answers selection questions
    padlab grade    FOLDER                              for lecturers: check the exercises of submitted notebooks
    padlab demo                                         all of it in the quickstart notebook
    padlab lab      [FOLDER]                            the notebooks copied there, and JupyterLab

Every stage can be interrupted and started again with the same words; what was finished is not done twice.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import fmean

import padlab
from padlab import benchmark_command, grade_command, import_command, inspect_command
from padlab.demo import run_demo
from padlab.lab import open_lab
from padlab.lm.presets import get_preset
from padlab.progress import is_main_process
from padlab.run_models import (
    add_model_options,
    load_models,
    model_choice,
    named_models,
    positive,
    replace_student,
    trained_student,
    training_target,
)
from padlab.runs import WAIT, load_candidates, read_manifest, record_stage, save_candidates, save_table
from padlab.safe_files import as_folder, hide_secrets, lock, write_json

SAMPLING = ("n", "temperature", "top_p", "max_new_tokens")
DIVERGENCES, THREADS = ("js", "forward_kl", "reverse_kl", "released"), "CPU threads (default: torch's)"
SOURCES = "train, heldout, in the reading world also names and kinds, or a .jsonl file"


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; returns the exit status (1: a stage failed with a message, 130: interrupted)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks characters of a path is no error
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        options = parser().parse_args(arguments)
        if getattr(options, "threads", None):
            import torch

            torch.set_num_threads(options.threads)
        with nullcontext() if is_main_process() else redirect_stdout(StringIO()):  # of several processes one prints
            return options.run_command(options) or 0
    except KeyboardInterrupt:
        print("\ninterrupted; the same command again goes on from here", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, FloatingPointError, OSError) as error:
        if os.environ.get("PADLAB_TRACEBACK"):
            raise
        print(f"padlab {options.command}: {hide_secrets(str(error))}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="padlab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"padlab {padlab.__version__}")
    commands = top.add_subparsers(dest="command", required=True)
    sample = _stage(commands, "sample", _sample, "phase 1: draw the student's responses")
    add_model_options(sample)
    sample.add_argument("--prompts", default="train", help=f"{SOURCES} (default: train)")
    sample.add_argument("--limit", type=positive, help="number of prompts (default: 128 of a world's, else all)")
    for flag, kind in (("--n", int), ("--temperature", float), ("--top-p", float), ("--max-new-tokens", int)):
        sample.add_argument(flag, type=kind, help="default: the preset's")
    sample.add_argument("--seed", type=int, default=0, help="default: 0")
    sample.add_argument("--distinct", action="store_true", help="draw repeated texts again")
    sample.add_argument("--oversample", type=int, help="number to draw, of which the n furthest apart are kept")
    score = _stage(commands, "score", _score, "phase 2: teacher's rewards, selection probabilities")
    score.add_argument("--selection", choices=("none", "pairwise", "n-way"), help="default: pairwise if alpha > 0")
    distill = _stage(commands, "distill", _distill, "phase 3: train the student")
    distill.add_argument("--loss", choices=("ppd", "vpd"), help="default: the preset's")
    distill.add_argument("--divergence", choices=DIVERGENCES, default="js", help="of ppd (default: js)")
    for flag in ("--alpha", "--beta", "--learning-rate", "--token-kd"):
        distill.add_argument(flag, type=float, help="default: the preset's")
    distill.add_argument("--epochs", type=float, dest="num_train_epochs", help="default: the preset's")
    distill.add_argument("--rounds", type=positive, help="number of rounds, each on fresh responses")
    distill.add_argument("--full", action="store_true", help="train all weights instead of LoRA")
    distill.add_argument("--seed", type=int, default=0, help="of the order of prompts and the adapter (default: 0)")
    evaluate = _stage(commands, "evaluate", _evaluate, "before and after on held-out prompts, with intervals")
    evaluate.add_argument("--prompts", help=f"{SOURCES} (default: heldout; after an import it must be given)")
    evaluate.add_argument("--limit", type=positive, default=48, help="number of prompts (default: 48)")
    evaluate.add_argument("--seed", type=int, default=1000, help="of prompts and samples (default: 1000)")
    doctor = commands.add_parser("doctor", help="can this model be a teacher or student?")
    doctor.add_argument("model", help="a preset, a Hub id, a local folder or a .gguf file")
    doctor.add_argument("--threads", type=positive, help=THREADS)
    doctor.set_defaults(run_command=_doctor)
    judge = _stage(commands, "prepare-judge", _prepare_judge, "train an adapter that answers selection questions")
    add_model_options(judge)
    import_command.add_parser(commands)
    benchmark_command.add_parser(commands)
    inspect_command.add_parser(commands)
    grade_command.add_parser(commands)
    demo = commands.add_parser("demo", help="run a notebook, leave an HTML page")
    demo.add_argument("--notebook", default="00_quickstart.ipynb", help="a file name, e.g. 04_losses.ipynb")
    demo.add_argument("--out", default="demo-out", help="folder of the notebook and page (default: demo-out)")
    demo.add_argument("--preset", help="other models than the notebook's (quickstart)")
    demo.set_defaults(run_command=_demo)
    lab = commands.add_parser("lab", help="the notebooks in a folder of yours, and JupyterLab on it")
    lab.add_argument("folder", nargs="?", default="padlab-notebooks", help="changed notebooks in it are kept")
    lab.set_defaults(run_command=_lab)
    return top


def _stage(commands, name: str, run, text: str) -> argparse.ArgumentParser:
    stage = commands.add_parser(name, help=text)
    stage.add_argument("run", type=as_folder, help="run folder")
    stage.add_argument("--threads", type=positive, help=THREADS)
    stage.set_defaults(run_command=run)
    return stage


def _sample(options) -> None:
    choice = named_models(options)
    if "import" in read_manifest(options.run)["stages"]:
        raise ValueError(f"the responses of {options.run} were imported; use another folder to sample")
    student, _ = load_models(choice)
    record_stage(options.run, "models", choice)
    settings = _with_flags(get_preset(options.preset).sampling(), options)
    settings |= {name: getattr(options, name) for name in ("seed", "distinct", "oversample")}
    prompts, _ = _prompts(get_preset(options.preset), options)
    table = padlab.sample_responses(student, prompts, **settings, folder=options.run)
    path = save_candidates(options.run, table, replace=True)
    print(f"{len(table)} prompts sampled, {sum(table['duplicates'])} repeated responses -> {path}")


def _score(options) -> None:
    table, choice = load_candidates(options.run), model_choice(options.run)
    selection = options.selection or ("pairwise" if get_preset(choice["preset"]).alpha > 0 else "none")
    imported = "import" in read_manifest(options.run)["stages"]
    if imported and selection == "none":
        raise ValueError(
            f"the rewards of {options.run} were imported, there is nothing to score; --selection pairwise also asks "
            "the teacher which response is better"
        )
    _, teacher = load_models(choice)
    if not imported:
        table = padlab.add_rewards(table, teacher, "teacher_reward", folder=options.run)
    if selection != "none":
        table = padlab.add_selection_probs(table, teacher, selection, folder=options.run)
        mass, bias = (fmean(table[column]) for column in ("option_mass", "position_bias"))
        print(f"option mass {mass:.2f}, position bias {bias:+.2f} (0 = none); `padlab doctor` says what that means")
    path = save_candidates(options.run, table)
    rewards = [reward for row in table["teacher_reward"] for reward in row]
    print(f"{len(rewards)} responses scored, mean teacher reward {fmean(rewards):.3f} nats/token -> {path}")


def _distill(options) -> None:
    table = load_candidates(options.run)
    choice = model_choice(options.run)
    student, teacher = load_models(choice)
    settings = _with_flags(get_preset(choice["preset"]).training(), options)
    settings |= {"divergence": options.divergence, "seed": options.seed}
    if options.full:
        settings["peft_config"] = None
    if options.token_kd is None and settings["token_kd"] and not teacher.shares_vocabulary(student):
        print("token-level distillation is left out (token_kd 0): the two models have different vocabularies")
        settings["token_kd"] = 0.0
    if options.rounds:
        trained = _distill_in_rounds(options, student, teacher, table, settings)
    else:
        settings["teacher"] = teacher if settings["token_kd"] else None
        trained = padlab.distill(student, table, folder=options.run, **settings)
    if is_main_process():
        method = read_manifest(options.run)["stages"].get("select", {}).get("method", "pairwise")
        replace_student(options.run, trained, {**settings, "selection": method})
    losses = [entry["loss"] for entry in trained.history if "loss" in entry]
    fifth = max(1, len(losses) // 5)
    first, last = fmean(losses[:fifth]), fmean(losses[-fifth:])
    print(f"loss {first:.3f} (first fifth of the steps) to {last:.3f} (last fifth) -> {options.run / 'student'}")


def _distill_in_rounds(options, student, teacher, table, settings):
    """The student after all rounds; prints a line per round, and records the settings as a single training does."""
    sampling, folder = _sampling(options.run), options.run / "rounds"
    if "import" in read_manifest(options.run)["stages"]:
        print(f"the rounds draw responses of their own, which {teacher.name} scores: the imported ranking is not used")
    trained, history = padlab.run_rounds(
        student, teacher, table, rounds=options.rounds, sampling=sampling, folder=folder, **settings
    )
    for row in history[1:]:
        measures = ", ".join(f"{k} {row[k]:.3f}" for k in ("teacher_reward", "jsd", "kendall_tau") if k in row)
        print(f"round {row['round']} of {options.rounds}: {measures}")
    return trained


def _prompts(preset, options):
    """Prompts of the preset's world, and its truth, where it has the side that is asked for; else others, and None."""
    own = preset.prompts(options.prompts, options.limit, seed=options.seed)
    if own is None:
        return padlab.load_prompts(options.prompts, limit=options.limit), None
    return padlab.load_prompts(own), preset.quality()


def _evaluate(options) -> None:
    run, stages = options.run, read_manifest(options.run)["stages"]
    choice = model_choice(run)
    if options.prompts is None and "import" in stages:
        raise ValueError(
            f"the responses of {run} were imported: say on which prompts to compare both students, --prompts FILE with "
            'one {"prompt": ...} a line, prompts that were not trained on (--prompts heldout: padlab\'s own)'
        )
    options.prompts = options.prompts or "heldout"
    student, teacher = load_models(choice)
    models = {"before": student, "after": trained_student(run, student)}
    prompts, quality = _prompts(get_preset(choice["preset"]), options)
    sampling = {**_sampling(run), "seed": options.seed}
    trained_with = training_target(run)
    target = {name: float(trained_with[name]) for name in ("alpha", "beta")}
    asked = {"prompts": options.prompts, "limit": options.limit, **sampling, **trained_with}
    record_stage(run, "evaluate", {**asked, "student": models["after"].describe()})
    samples = [
        padlab.evaluate_samples(model, teacher, prompts, quality=quality, **sampling, folder=run / "evaluate" / name)
        for name, model in models.items()
    ]
    table = samples[0].table
    if target["alpha"] > 0:
        method = trained_with["selection"]
        table = padlab.add_selection_probs(table, teacher, method, folder=run / "evaluate" / "before")
    agreement = [padlab.rank_agreement(model, teacher, table, quality=quality, **target) for model in models.values()]
    on_same, result = _comparison(f"the same held-out responses ({len(prompts)} prompts)", *agreement)
    on_fresh, more = _comparison(f"fresh samples ({len(prompts)} prompts)", *samples)
    with lock(run, wait=WAIT):
        save_table(agreement[0].table, run / "heldout.jsonl", locked=True)
        write_json(run / "evaluation.json", result | more, locked=True)
    print("target: alpha {alpha:g}, beta {beta:g}".format(**target))
    if "import" in stages:
        print("both students are compared with the preset's teacher, not with those who made the imported ranking")
    print(f"{on_same}\n{on_fresh}\n\n-> {run / 'evaluation.json'}")


def _comparison(title: str, before, after) -> tuple[str, dict[str, dict]]:
    """Lines with means before and after and paired differences; the same as plain values."""
    lines = [f"\n{title}   before   after   difference [95 % interval]"]
    old, new = before.intervals(), after.intervals()
    result = {}
    for name, change in padlab.paired_differences(before, after).items():
        means = {"before": old[name].estimate, "after": new[name].estimate}
        lines.append(f"  {name:18} {means['before']:8.3f} {means['after']:8.3f}   {change}")
        result[name] = {**means, "difference": change._asdict()}
    return "\n".join(lines), result


def _doctor(options) -> None:
    if options.model in padlab.PRESETS:
        preset = get_preset(options.model)
        for model in padlab.load_pair(options.model):
            print(f"{padlab.examine(model, n=preset.n, response_tokens=preset.max_new_tokens, lora=preset.lora)}\n")
    else:
        print(padlab.examine(padlab.load_model(options.model)))


def _prepare_judge(options) -> None:
    student, teacher = load_models(vars(options))
    padlab.prepare_judge(student, padlab.with_judge(teacher, None), folder=options.run)
    print(f"padlab.with_judge(teacher, {str(options.run / 'judge')!r}) uses the adapter")


def _demo(options) -> None:
    run_demo(options.out, options.preset, options.notebook)


def _lab(options) -> int:
    return open_lab(options.folder)


def _sampling(run: Path) -> dict:
    """How `padlab sample` drew the responses; after `padlab import`, as the preset does."""
    settings = read_manifest(run)["stages"].get("sample") or get_preset(model_choice(run)["preset"]).sampling()
    return {name: settings[name] for name in SAMPLING}


def _with_flags(defaults: dict, options) -> dict:
    """The preset's settings, with those that were given on the command line."""
    given = {name: value for name, value in vars(options).items() if name in defaults and value is not None}
    return {**defaults, **given}
