"""The paper's four benchmarks with one model, and how far a local judge can be trusted.

    python bench/benchmarks.py --data FOLDER [--model embedded] [--limit 40] [--max-new-tokens 256] [--names ...]
    python bench/benchmarks.py --data FOLDER --agreement [--limit 100]      judges against GPT-4-turbo
    python bench/benchmarks.py --data FOLDER --published                    win rates against the leaderboard's

FOLDER holds the official files: alpaca_eval_ranked.jsonl.gz and alpaca_eval_published.json (answers of six models with
GPT-4-turbo's preferences), arena_hard_v0.1_questions.jsonl, mt_bench_questions.jsonl, gsm8k_test.jsonl. Answers are
kept in --out; the same command goes on.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from _measure import machine

import padlab
from padlab.data_files import read_rows

FILES = {
    "alpaca_eval": "alpaca_eval_ranked.jsonl.gz", "arena_hard": "arena_hard_v0.1_questions.jsonl",
    "mt_bench": "mt_bench_questions.jsonl", "gsm8k": "gsm8k_test.jsonl",
}  # fmt: skip


def answer(options: argparse.Namespace) -> None:
    """Every benchmark's answer file, the time it took, and what the answers are like."""
    model = padlab.load_model(options.model, dtype=options.dtype)
    for name in options.names:
        begin = time.monotonic()
        path, results = padlab.run_benchmark(
            name, model, options.out, questions=options.data / FILES[name], limit=options.limit, shots=options.shots,
            max_new_tokens=options.max_new_tokens, batch_size=options.batch_size,
        )  # fmt: skip
        seconds, texts = time.monotonic() - begin, answers_of(path)
        empty = sum(not text.strip() for text in texts)
        mean = sum(map(len, texts)) / len(texts)
        print(f"{name}: {len(texts)} answers in {seconds:.0f} s, {mean:.0f} characters on average, {empty} empty")
        print(results or "", flush=True)


def answers_of(path: Path) -> list[str]:
    """All answers of an answer file, whatever its shape."""
    texts = []
    for row in read_rows(path):
        if "choices" in row:
            texts += row["choices"][0]["turns"]
        elif "messages" in row:
            texts.append(row["messages"][-1]["content"]["answer"])
        else:
            texts.append(row.get("output", row.get("response")))
    return texts


def agreement(options: argparse.Namespace) -> None:
    """How often each judge chooses the answer that GPT-4-turbo prefers."""
    model = padlab.load_model(options.model, dtype=options.dtype)
    judges = {"no adapter, letter": (model, "letter"), "no adapter, text": (model, "text")}
    if options.model == "embedded":
        judges["data/judge, letter"] = (padlab.with_judge(model, "data/judge"), "letter")
    for name, (judge, reply) in judges.items():
        begin = time.monotonic()
        found = padlab.judge_agreement(
            judge, options.data / FILES["alpaca_eval"], options.limit, reply=reply, max_response_tokens=400
        )
        print(f"{name}: {found}, {time.monotonic() - begin:.0f} s", flush=True)


def published(options: argparse.Namespace) -> None:
    """Win rates from the preferences, beside the leaderboard's."""
    rows = read_rows(options.data / FILES["alpaca_eval"])
    figures = json.loads((options.data / "alpaca_eval_published.json").read_text())["models"]
    with tempfile.TemporaryDirectory() as folder:
        for name, known in figures.items():
            k, path = rows[0]["models"].index(name), Path(folder) / "annotations.json"
            path.write_text(
                json.dumps([{"generator_2": name, "preference": 1 + r["gpt4_preference"][k]} for r in rows])
            )
            rate = padlab.read_judgements("alpaca_eval", path).rows[0].interval
            shown = f"{rate.estimate:6.2f} [{rate.low:.2f}, {rate.high:.2f}]"
            off = rate.estimate - known["win_rate"]
            print(f"{name:26} {shown}  leaderboard {known['win_rate']:.2f}  difference {off:+.2f}")


def main() -> None:
    """What the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the official files; without it nothing is measured")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--names", nargs="+", default=list(FILES))
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("bench-out/benchmarks"))
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    if options.data is None:
        print("no --data: nothing is measured")
        return
    (agreement if options.agreement else published if options.published else answer)(options)


if __name__ == "__main__":
    main()
