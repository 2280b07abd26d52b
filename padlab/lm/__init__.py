"""A language model as a reward function: loading, chat templates, token log-probabilities."""
