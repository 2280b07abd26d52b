"""Selection questions, every pair of n responses in both orders: padlab against plain transformers, in one run.

    python bench/selection.py [--threads 2] [--prompts 4] [--n 4] [--tokens 48] [--repeats 3]

"plain": each question through the model, full logits, the last row read; one question at a time, or all questions of a
prompt as one right-padded batch.
"""

from itertools import permutations

import torch
from _measure import save_ratio, side_by_side, speed_options

import padlab
from padlab.lm.chat import encode_chat
from padlab.phases.multiple_choice import letter_tokens, multiple_choice_question


@torch.no_grad()
def plain_answers(model, rows, questions_per_batch):
    """P(first) of every ordered pair."""
    network, answers = model.judge or model.model, []
    for row in rows:
        texts = [multiple_choice_question(row["prompt"], pair) for pair in permutations(row["responses"], 2)]
        ids = [encode_chat(model.tokenizer, text) for text in texts]
        letters = [letter_tokens(model, letter, texts[0]) for letter in "AB"]
        for start in range(0, len(ids), questions_per_batch):
            batch = ids[start : start + questions_per_batch]
            lengths = torch.tensor([len(p) for p in batch])
            rows_of_ids = [p + [0] * (int(lengths.max()) - len(p)) for p in batch]
            input_ids = torch.tensor(rows_of_ids, device=network.device)
            mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long().to(network.device)
            logits = network(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
            logps = logits[torch.arange(len(batch)), lengths - 1].log_softmax(-1)
            per_letter = torch.stack([logps[:, tokens].logsumexp(-1) for tokens in letters], -1)
            answers += per_letter.softmax(-1)[:, 0].tolist()
    return answers


def main() -> None:
    """Questions per second."""
    options = speed_options(__doc__, shapes=False, prompts=4, n=4, tokens=48, repeats=3)
    student, teacher = padlab.load_pair("pruned")
    prompts = padlab.load_prompts("train", limit=options.prompts)
    table = padlab.sample_responses(student, prompts, options.n, max_new_tokens=options.tokens)
    rows, count = list(table), options.prompts * options.n * (options.n - 1)
    votes = padlab.add_selection_probs(table, teacher, votes=True)["selection_votes"]
    answers = [v for matrix in votes for i, row in enumerate(matrix) for j, v in enumerate(row) if i != j]
    difference = max(abs(a - b) for a, b in zip(answers, plain_answers(teacher, rows, 1), strict=True))
    print(f"{count} questions; largest difference of P(first) {difference:.1e}")
    seconds = side_by_side({
        "padlab": lambda: padlab.add_selection_probs(table, teacher),
        "plain, one question at a time": lambda: plain_answers(teacher, rows, 1),
        "plain, a prompt's questions": lambda: plain_answers(teacher, rows, 100),
    }, options.repeats)  # fmt: skip
    best_plain = min(taken for name, taken in seconds.items() if name != "padlab")
    save_ratio(f"selection questions, n = {options.n}, pairs in both orders", best_plain / seconds["padlab"])
    for name, taken in seconds.items():
        print(f"  {name:30} {count / taken:6.2f} questions/s  {taken / seconds['padlab']:5.2f} x padlab's time")


if __name__ == "__main__":
    main()
