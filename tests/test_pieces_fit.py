"""Columns that one room writes are what another room reads."""

import pytest

import padlab


@pytest.mark.parametrize("method", ["pairwise", "n-way"])
def test_votes_and_token_rewards_feed_the_bootstrap(tiny, method):
    table = padlab.sample_responses(tiny[1], ["Name a colour."], n=3, max_new_tokens=6)
    table = padlab.add_rewards(table, tiny[0], token_logps=True)
    row = padlab.add_selection_probs(table, tiny[0], method, votes=True)[0]
    found = padlab.bootstrap_preference(
        row["token_logps"], row["selection_votes"], alpha=1.0, votes_are=method, num_resamples=50
    )
    scores = 10 * padlab.calibrate(row["teacher_reward"], row["selection_prob"], alpha=1.0)
    expected = padlab.PlackettLuce(scores).top_choice()
    assert found["top_choice"].estimate.tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert bool((found["top_choice"].low <= found["top_choice"].high).all())
