"""What do the reading pairs show? Every method and control on notes with names never seen, with paired intervals.

    python bench/reading.py [--groups headline judge tune rates ...] [--workers 2] [--heldout 256]
    python bench/reading.py --teachers      what the models write, and how well the judge chooses
    python bench/reading.py --loop          the whole loop, timed: sample 64 x 4, score, distil, evaluate 64
    python bench/reading.py --report        tables of what is there, and data/reading/results for the notebooks

A job trains one student and measures it: right answers at T = 1 and greedy, agreement with the teacher and with the
truth on the untrained student's samples. The groups "tune" and "method_rates" try settings on training names. Each
finished job is a file in `--folder`; the same command goes on with the rest. The results that padlab keeps are in
data/reading/results/jobs: copied into `--folder`, they are not computed again.
"""

import argparse
import json
import random
import statistics
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _measure import machine

import padlab
from padlab.rankings.intervals import mean_interval
from padlab.safe_files import write_json
from padlab.show import plots
from padlab.study.judge import PreferencePair
from padlab.worlds import reading

RESULTS, PICTURE = Path("data/reading/results"), Path("docs/reading.png")
KINDS, AGREEMENT = 64, 128  # prompts for the kinds never seen, and for agreement with the teacher
GREEDY = {"temperature": 0.01, "n": 2}  # two, as a ranking needs two; they are equal
MEASURES = ("right", "greedy", "right_kinds", "jsd", "kendall_tau", "truth_tau")
METHODS = ("ppd", "sft", "token_kd", "dpo", "simpo", "vpd", "forward_kl", "reverse_kl")
RANKED, SPREADS = ("ranked_raw", "ranked_standardised", "ranked_rank", "ranked_raters"), (0.2, 1.0, 2.0, 4.0)
RATES = {"vpd": (5e-5, 2e-4, 5e-4)}  # tried on training names; of the other methods (2e-4, 5e-4, 1e-3)
PRESET_RATE = padlab.PRESETS["reading"].training()["learning_rate"]


@dataclass(frozen=True)
class Job:
    """One training and its measurement.

    Args:
        group: which table it belongs to.
        preset: "reading" or "reading-judge".
        method: one of METHODS, "none" (the untrained student), "shuffled" (PPD, the teacher's rewards shuffled within
            each prompt), "bare" (PPD, the model without any adapter as teacher), or PPD on ranked answers without any
            teacher: "ranked_raw", "ranked_standardised", "ranked_rank" (the teacher's rewards as scores, in this
            scale of `padlab.from_ranked`), "ranked_raters" (`reading.quality`, standardised).
        seed: decides training prompts, samples and training.
        side: "names" (the result) or "train" (training names, to choose settings; other notes than those trained on).
        settings: prompts, n, rounds, spread (of ranked answers), and settings of `padlab.distill`, where they are not
            the preset's.
    """

    group: str
    preset: str = "reading"
    method: str = "ppd"
    seed: int = 0
    side: str = "names"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its file's name; groups share files."""
        more = "".join(f"-{key}={value:g}" for key, value in sorted(self.settings.items()))
        return f"{self.preset}-{self.side}-{self.method}{more}-{self.seed}"


def jobs(groups: list[str], folder: Path, seeds: int) -> list[Job]:
    """The jobs of these groups, the most important ones first."""
    few = range(min(3, seeds))
    by_group = {
        "headline": [
            *[Job("headline", method="none"), *[Job("headline", seed=s) for s in range(seeds)]],
            *[Job("headline", method="shuffled", seed=s) for s in few],
        ],
        "judge": [
            *[Job("judge", "reading-judge", seed=s, settings={"alpha": a}) for s in few for a in (0.5, 0.0)],
            *[Job("judge", "reading-judge", "sft", seed=s) for s in few],
            *[Job("judge", "reading-judge", seed=s, settings={"alpha": a}) for s in few for a in (0.2, 1.0, 0.1, 0.7)],
        ],
        "bare": [Job("bare", method="bare", seed=s) for s in few],
        "rates": [Job("rates", seed=s, settings={"learning_rate": r}) for s in few for r in (1.5e-3, 5e-3)],
        "rounds": [Job("rounds", seed=s, settings={"rounds": r}) for s in few for r in (2, 3, 4)],
        "decompose": [  # 8 responses per prompt in 64 steps: 1 x 8 here, 2 x 4 in "rounds", 4 x 2 here
            Job("decompose", seed=s, settings=d)
            for s in few
            for d in ({"n": 8, "num_train_epochs": 2}, {"rounds": 4, "n": 2, "num_train_epochs": 0.5})
        ],
        "n": [Job("n", seed=s, settings={"n": n}) for s in few for n in (2, 8)],
        "methods": [  # each at the best of its rates, once "method_rates" is done
            Job("methods", method=m, seed=s, settings=best_rate(folder, m)) for s in few for m in METHODS
        ],
        "ranked_tune": [Job("ranked_tune", method=m, side="train", settings=s) for m, s in ranked_settings()],
        "ranked": [Job("ranked", method=m, seed=s, settings=best_spread(folder, m)) for s in few for m in RANKED],
        "judge_tune": judge_tuning(),
        "tune": tuning(),
        "method_rates": rates(),
    }
    return [job for group in groups for job in by_group[group]]


def tuning() -> list[Job]:
    """PPD with other settings than the preset's, one at a time, on training names."""
    changes = [
        {}, {"prompts": 64, "num_train_epochs": 2}, {"num_train_epochs": 2}, {"prompts": 256}, {"beta": 1.0},
        {"beta": 5.0}, {"beta": 10.0}, {"learning_rate": 2e-4}, {"learning_rate": 1e-3}, {"prompts": 64}, {"n": 8},
    ]  # fmt: skip
    return [Job("tune", method="none", side="train"), *[Job("tune", side="train", settings=c) for c in changes]]


def judge_tuning() -> list[Job]:
    """PPD on `reading-judge` with other settings than the preset's, on training names."""
    changes = [{}, {"alpha": 1.0}, {"num_train_epochs": 2}, {"learning_rate": 1e-3}, {"prompts": 256}, {"n": 8}]
    return [Job("judge_tune", "reading-judge", side="train", settings={"alpha": 0.5, **c}) for c in changes]


def rates() -> list[Job]:
    """Every method at three rates, on training names."""
    return [Job("method_rates", method=m, side="train", settings=at_rate(m, r)) for m in METHODS for r in rates_of(m)]


def at_rate(method: str, rate: float) -> dict[str, float]:
    """Settings with this rate; empty where they are the preset's."""
    return {} if method == "ppd" and rate == PRESET_RATE else {"learning_rate": rate}


def rates_of(method: str) -> tuple[float, ...]:
    """The rates tried for a method, as first guessed in the middle."""
    return RATES.get(method, (2e-4, 5e-4, 1e-3))


def best_rate(folder: Path, method: str) -> dict[str, float]:
    """The rate with the most right answers on training names; the middle one where none was tried."""
    rates = rates_of(method)
    tried = {
        rate: statistics.fmean(json.loads(path.read_text())["right"])
        for rate in rates
        if (
            path := folder / f"{Job('', method=method, side='train', settings=at_rate(method, rate)).name}.json"
        ).exists()
    }
    return at_rate(method, max(tried, key=tried.get) if tried else rates[1])


def ranked_settings() -> list[tuple[str, dict[str, float]]]:
    """Every way to read ranked answers, with every spread."""
    return [(method, {"spread": spread}) for method in RANKED if method != "ranked_raw" for spread in SPREADS]


def best_spread(folder: Path, method: str) -> dict[str, float]:
    """The spread with the most right answers on training names; 1 nat/token where none was tried."""
    if method == "ranked_raw":
        return {}
    tried = {}
    for _, settings in ((m, s) for m, s in ranked_settings() if m == method):
        path = folder / f"{Job('', method=method, side='train', settings=settings).name}.json"
        if path.exists():
            tried[settings["spread"]] = statistics.fmean(json.loads(path.read_text())["right"])
    return {"spread": max(tried, key=tried.get) if tried else 1.0}


def without_teacher(table: Any, method: str, spread: float) -> Any:
    """The table's answers with scores, as a data set that `padlab.from_ranked` reads."""
    rows = []
    for row in table:
        rated = [reading.quality(row["prompt"], answer) for answer in row["responses"]]
        scores = rated if method == "ranked_raters" else row["teacher_reward"]
        rows.append({"prompt": row["prompt"], "completions": row["responses"], "rewards": scores})
    scale = {"ranked_raw": "raw", "ranked_rank": "rank"}.get(method, "standardised")
    return padlab.from_ranked(rows, scale=scale, spread=spread)


def train(job: Job) -> padlab.LanguageModel:
    """The student after the job's training."""
    preset = padlab.PRESETS[job.preset]
    student, teacher = padlab.load_pair(job.preset, dtype="float32")
    settings = {**preset.training(), "seed": job.seed, **job.settings}
    if job.method == "sft":  # it learns the teacher's texts; selection questions would be asked for nothing
        settings["alpha"] = 0.0
    count, rounds, n = (settings.pop(k, d) for k, d in (("prompts", 128), ("rounds", 1), ("n", preset.n)))
    sampling = {**preset.sampling(), "n": n}
    prompts, spread = reading.prompts(int(count), seed=100 + job.seed), settings.pop("spread", 1.0)
    if job.method in ("forward_kl", "reverse_kl"):
        settings["divergence"] = job.method
    elif job.method not in ("ppd", "shuffled", "bare", *RANKED):
        settings["loss"] = job.method
    if job.method == "none":
        return student
    if rounds > 1:
        return padlab.run_rounds(student, teacher, prompts, rounds=int(rounds), sampling=sampling, **settings)[0]
    writer = teacher if job.method == "sft" else student
    table = padlab.sample_responses(writer, prompts, seed=job.seed, **sampling)
    scorer = padlab.load_model("embedded", dtype="float32") if job.method == "bare" else teacher
    table = padlab.add_rewards(table, scorer, "teacher_reward")
    if settings["alpha"] > 0:
        table = padlab.add_selection_probs(table, teacher)
    if job.method == "shuffled":
        rng = random.Random(job.seed)
        table = table.map(
            lambda row: {"teacher_reward": rng.sample(row["teacher_reward"], n)}, load_from_cache_file=False
        )
    if job.method in RANKED:
        table = without_teacher(table, job.method, spread)
    return padlab.distill(student, table, teacher=teacher if job.method == "token_kd" else None, **settings)


def heldout(count: int, folder: Path) -> Any:
    """The untrained student's samples to notes with names never seen, with the teacher's rewards."""
    student, teacher = padlab.load_pair("reading", dtype="float32")
    prompts, place = evaluation_prompts("names", count), folder / f"heldout-names-{count}"
    table = padlab.sample_responses(student, prompts, seed=1, **padlab.PRESETS["reading"].sampling(), folder=place)
    return padlab.add_rewards(table, teacher, "teacher_reward", folder=place / "reading")


def evaluation_prompts(side: str, count: int) -> list[str]:
    """Held-out prompts, or other training prompts than any job's."""
    return reading.prompts(count, seed=7, heldout=reading.SIDES[side])


def measure(job: Job, student: padlab.LanguageModel, count: int, folder: Path) -> dict[str, Any]:
    """Per prompt: right answers (share at T = 1, greedy); for the headline also kinds, JSD and tau."""
    sampling = {**padlab.PRESETS[job.preset].sampling(), "seed": 2, "shard_size": 64}
    prompts = evaluation_prompts(job.side, count)
    wanted = {"right": (prompts, sampling)}
    if job.side != "train":
        wanted["greedy"] = prompts, {**sampling, **GREEDY}
    if job.group == "headline":
        wanted["right_kinds"] = evaluation_prompts("kinds", KINDS), sampling
    measures = {}
    for name, (texts, options) in wanted.items():
        report = padlab.evaluate_samples(student, None, texts, quality=reading.quality, **options)
        measures[name] = report.per_prompt["right"].tolist()
    if job.group == "headline" and job.method in ("none", "ppd"):
        table = heldout(min(count, AGREEMENT), folder)
        report = padlab.rank_agreement(
            student, padlab.load_pair("reading", dtype="float32").teacher, table, quality=reading.quality,
            alpha=student.training["alpha"], beta=student.training["beta"],
        )  # fmt: skip
        measures |= {name: report.per_prompt[name].tolist() for name in ("jsd", "kendall_tau", "truth_tau")}
    return measures


def work(job: Job, count: int, folder: Path) -> str:
    """Run a job and write its file; what to print."""
    where = machine(1)
    path, start = folder / f"{job.name}.json", time.monotonic()
    if path.exists():
        return ""
    trained = train(job)
    seconds = time.monotonic() - start
    log = [{k: v for k, v in entry.items() if k != "epoch"} for entry in trained.history if "loss" in entry]
    result = {
        **asdict(job),
        "machine": where,
        "train_seconds": seconds,
        **measure(job, trained, count, folder),
        "history": log,
    }
    write_json(path, result)
    means = ", ".join(f"{k} {np.nanmean(v):.3f}" for k, v in result.items() if isinstance(v, list) and k != "history")
    return f"{job.name}: {means}; {seconds:.0f} + {time.monotonic() - start - seconds:.0f} s"


def measure_teachers(count: int) -> None:
    """Right answers of all four models, and how well the judge chooses: text or letter, names and kinds; a table."""
    student, teacher = padlab.load_pair("reading")
    _, careless = padlab.load_pair("reading-judge")
    sampling = {**padlab.PRESETS["reading"].sampling(), "seed": 2, "shard_size": 64, "quality": reading.quality}
    rows = []
    for side in ("names", "kinds"):
        texts = evaluation_prompts(side, count if side == "names" else KINDS)
        for name, model in (("student", student), ("teacher", teacher), ("careless teacher", careless)):
            row = {"model": name, "side": side, "prompts": len(texts)}
            for way, options in (("right", sampling), ("greedy", {**sampling, **GREEDY})):
                row[way] = interval(padlab.evaluate_samples(model, None, texts, **options).per_prompt["right"])
            rows.append(row)
            print(row, flush=True)
        pairs = [PreferencePair(text, reading.answers(text)[0], reading.answers(text)[1][0], side) for text in texts]
        for name, model in (("judge", teacher), ("no adapter", padlab.load_model("embedded"))):
            for reply in ("text", "letter"):
                quality = padlab.judge_quality(model, pairs[: KINDS * 2], reply=reply)[side]
                row = {"model": name, "side": side, "reply": reply, **{k: interval_of(v) for k, v in quality.items()}}
                rows.append(row)
                print(row, flush=True)
    write_json(RESULTS / "teachers.json", with_origin(rows, " --teachers"))


def with_origin(rows: list[dict[str, Any]], options: str = "") -> dict[str, Any]:
    """Results with the command that makes them and the commit they were put together at."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {"command": f"python bench/reading.py{options}", "commit": commit, "rows": rows}


def interval_of(value: Any) -> list[float]:
    """The first three numbers of an `Interval`, rounded."""
    return [round(float(x), 4) for x in value[:3]]


def loop() -> None:
    """Time the whole loop on the machine's cores: sample 64 x 4, score, distil, evaluate 64."""
    preset, prompts = padlab.PRESETS["reading"], reading.prompts(64)
    student, teacher = padlab.load_pair("reading")
    padlab.sample_responses(student, prompts[:2], **preset.sampling())  # warm-up
    marks = [time.monotonic()]
    table = padlab.sample_responses(student, prompts, **preset.sampling())
    marks.append(time.monotonic())
    table = padlab.add_rewards(table, teacher, "teacher_reward")
    marks.append(time.monotonic())
    trained = padlab.distill(student, table)
    marks.append(time.monotonic())
    held = reading.prompts(64, heldout="names")
    reports = []
    for model in (trained, student):
        report = padlab.evaluate_samples(model, teacher, held, quality=reading.quality, **preset.sampling())
        reports.append(report)
        marks.append(time.monotonic())
    parts = [b - a for a, b in pairwise(marks)]
    names = ("sample", "score", "distil", "evaluate", "evaluate the untrained student as well")
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in zip(names, parts, strict=True)))
    print(
        f"the loop {marks[-2] - marks[0]:.1f} s, with the untrained student's evaluation {marks[-1] - marks[0]:.1f} s"
    )
    print(f"right {padlab.paired_differences(*reports[::-1])['right']}")


def report(folder: Path) -> None:
    """Print what is there, with paired changes since the untrained student; write the table that notebooks read."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("reading*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        groups.setdefault((result["preset"], result["side"], result["method"], str(result["settings"])), []).append(
            result
        )
    rows = []
    for (preset, side, method, _), results in groups.items():
        untrained = groups.get(("reading", side, "none", "{}"), results)[0]  # the same student in both pairs
        row = {"group": results[0]["group"], "preset": preset, "side": side, "method": method}
        row |= {"settings": results[0]["settings"], "seeds": len(results)}
        row["train_seconds"] = round(statistics.fmean(r["train_seconds"] for r in results))
        for name in MEASURES:
            if name not in results[0]:
                continue
            row[name] = interval(np.mean([r[name] for r in results], axis=0))
            if method != "none" and name in untrained:
                changes = [np.subtract(r[name], untrained[name]) for r in results]
                row[f"{name}_change"] = interval(np.mean(changes, axis=0))
                row[f"{name}_change_by_seed"] = [interval(change) for change in changes]
        rows.append(row)
        print(f"\n{preset}, {side}: {method} {row['settings'] or ''}, {row['seeds']} seed(s), {row['train_seconds']} s")
        for name in (n for n in MEASURES if n in row):
            changes = [row[f"{name}_change"], *row[f"{name}_change_by_seed"]] if f"{name}_change" in row else []
            print(
                f"  {name:13} {row[name][0]:.3f}  "
                + "; ".join("{:+.3f} [{:+.3f}, {:+.3f}]".format(*c) for c in changes)
            )
    write_json(RESULTS / "students.json", with_origin(rows))
    draw(rows)


def draw(rows: list[dict[str, Any]]) -> None:
    """The README's picture: before, after, control, teacher."""
    shown = {"none": "student before", "ppd": "student after PPD", "shuffled": "control: teacher's rewards shuffled"}
    found = [r for m in shown for r in rows if (r["side"], r["method"], r["group"]) == ("names", m, "headline")]
    found = [r for r in found if not r["settings"]]
    shares = {"T = 1": [r["right"] for r in found], "greedy": [r["greedy"] for r in found]}
    colours = ["student" if r["method"] != "shuffled" else "grey" for r in found]
    names = [shown[r["method"]] for r in found]
    if (RESULTS / "teachers.json").exists():
        rows = json.loads((RESULTS / "teachers.json").read_text(encoding="utf-8"))["rows"]
        teacher = next(row for row in rows if (row["model"], row["side"]) == ("teacher", "names"))
        shares = {"T = 1": [*shares["T = 1"], teacher["right"]], "greedy": [*shares["greedy"], teacher["greedy"]]}
        names, colours = [*names, "teacher"], [*colours, "teacher"]
    title = "Right answers about names never seen, from nothing but the student's own answers"
    figure = plots.plot_levels(names, shares, colours, title=title)
    PICTURE.write_bytes(figure.png())


def interval(values: Any) -> list[float]:
    """Mean and 95 % interval over prompts, prompts where it is undefined left out."""
    return interval_of(mean_interval(np.asarray(values, float)))


def main() -> None:
    """Run the jobs that have no result yet, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--groups",
        nargs="+",
        default=[
            "headline",
            "judge",
            "tune",
            "judge_tune",
            "rates",
            "method_rates",
            "methods",
            "bare",
            "rounds",
            "decompose",
            "n",
            "ranked_tune",
            "ranked",
        ],
    )
    parser.add_argument("--seeds", type=int, default=5, help="of the headline; the other groups have at most three")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--heldout", type=int, default=256)
    parser.add_argument("--folder", type=Path, default=Path("bench-out/reading"))
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--teachers", action="store_true")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    print(machine(2 if options.loop else 1))
    if options.loop:
        return loop()
    if options.report:
        return report(options.folder)
    if options.teachers:
        return measure_teachers(options.heldout)
    for group in options.groups:
        todo = jobs([group], options.folder, options.seeds)
        if group == "headline":  # once, before two processes need it
            heldout(min(options.heldout, AGREEMENT), options.folder)
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            futures = [
                pool.submit(work, job, options.heldout if job.side != "train" else 64, options.folder) for job in todo
            ]
            for done in futures:
                if line := done.result():
                    print(line, flush=True)
    report(options.folder)


if __name__ == "__main__":
    main()
