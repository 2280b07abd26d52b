"""Experiments on top of the phases: health checks, agreement, sweeps."""
