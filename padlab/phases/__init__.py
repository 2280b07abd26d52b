"""The phases of preference-aligned distillation, in their order."""
