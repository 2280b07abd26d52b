"""The trainer of phase 3: settings, per-prompt losses, collator, callbacks."""
