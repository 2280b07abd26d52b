"""A model on a server that speaks the OpenAI completions API, as teacher or as a model that writes."""
