"""From an edited response to the new distribution and its view, without a browser: seconds on the embedded model.

    python bench/inspector.py [--threads 2] [--repeats 5]

Four responses of about 50 tokens to a bundled prompt, the pair "reading". One of them is edited, scored by both models,
and the view is made; then the same with the teacher's six questions about it asked anew.
"""

import statistics
import time

from _measure import speed_options

import padlab
from padlab.show.inspector_views import moving_view
from padlab.show.snapshot import preferences

TEXT = (
    "The harbour was quiet in the morning and the boats lay still, so we walked along the stone wall, counted the "
    "gulls on the roofs, bought warm bread from a small shop near the church, and talked about the long journey home "
    "before the rain began."
)


def main() -> None:
    """Median and longest time of an edit."""
    options = speed_options(__doc__, shapes=False, repeats=5)
    student, teacher = padlab.load_pair("reading", device="cpu")
    prompt = padlab.load_prompts("heldout", limit=1)["prompt"][0]
    responses = [TEXT, *(TEXT.replace("harbour", word) for word in ("market", "garden", "square"))]
    for judge in (False, True):
        inspection = padlab.Inspection(student, teacher, prompt, responses, judge=judge).score()
        seconds = []
        for number in range(options.repeats + 1):  # the first is a warm-up
            start = time.perf_counter()
            snapshot = inspection.edit(1, f"{TEXT} {number}").score().snapshot()
            moving_view(snapshot, preferences(snapshot, 0.5 if judge else 0.0, 2.0))
            seconds.append(time.perf_counter() - start)
        tokens = len(snapshot.tokens["student"][1][0])
        what = ", six questions asked anew" if judge else ""
        median, longest = statistics.median(seconds[1:]), max(seconds[1:])
        print(f"edit of {tokens} tokens{what}: median {median:.2f} s, longest {longest:.2f} s", flush=True)


if __name__ == "__main__":
    main()
