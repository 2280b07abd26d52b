"""Selection questions, every pair of n responses in both orders: padlab against the plain way, in one run.

    python bench/selection.py [--threads 2] [--prompts 4] [--n 4] [--tokens 48] [--repeats 3]

"plain": each question through the model, full logits, the last row read; one question at a time, and all questions of a
prompt as one right-padded batch.
"""

from itertools import permutations

import torch
from _measure import keep_row, side_by_side, speed_options

import padlab
from padlab.lm.chat import encode_chat
from padlab.phases.multiple_choice import letter_tokens, question


@torch.no_grad()
def plain(model, rows, at_once):
    """P(first) of every ordered pair."""
    network, found = model.judge or model.model, []
    for row in rows:
        texts = [question(row["prompt"], pair) for pair in permutations(row["responses"], 2)]
        ids = [encode_chat(model.tokenizer, text) for text in texts]
        letters = [letter_tokens(model, letter, texts[0]) for letter in "AB"]
        for start in range(0, len(ids), at_once):
            piece = ids[start : start + at_once]
            longest = max(map(len, piece))
            padded = torch.tensor([p + [0] * (longest - len(p)) for p in piece])
            mask = torch.tensor([[1] * len(p) + [0] * (longest - len(p)) for p in piece])
            logits = network(input_ids=padded, attention_mask=mask, use_cache=False).logits
            last = logits[torch.arange(len(piece)), torch.tensor([len(p) - 1 for p in piece])].log_softmax(-1)
            found += torch.softmax(torch.stack([last[:, t].logsumexp(-1) for t in letters], -1), -1)[:, 0].tolist()
    return found


def main() -> None:
    """Questions per second of each way."""
    options = speed_options(__doc__, shapes=False, prompts=4, n=4, tokens=48, repeats=3)
    model, student = padlab.load_pair("pruned")
    prompts = padlab.load_prompts("train", limit=options.prompts)
    table = padlab.sample_responses(student, prompts, options.n, max_new_tokens=options.tokens)
    rows, count = list(table), options.prompts * options.n * (options.n - 1)
    votes = padlab.add_selection_probs(table, model, votes=True)["selection_votes"]
    ours = [v for matrix in votes for i, row in enumerate(matrix) for j, v in enumerate(row) if i != j]
    apart = max(abs(a - b) for a, b in zip(ours, plain(model, rows, 1), strict=True))
    print(f"{count} questions; largest difference of P(first) {apart:.1e}")
    seconds = side_by_side({
        "padlab": lambda: padlab.add_selection_probs(table, model),
        "plain, one question at a time": lambda: plain(model, rows, 1),
        "plain, a prompt's questions": lambda: plain(model, rows, 100),
    }, options.repeats)  # fmt: skip
    keep_row(f"selection questions, n = {options.n}, pairs in both orders",
             min(taken for name, taken in seconds.items() if name != "padlab") / seconds["padlab"])  # fmt: skip
    for name, taken in seconds.items():
        print(f"  {name:30} {count / taken:6.2f} questions/s  {taken / seconds['padlab']:5.2f} x padlab's time")


if __name__ == "__main__":
    main()
