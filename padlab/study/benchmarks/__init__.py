"""The paper's four benchmarks: official questions and settings, official answer files, official judgements read back.

alpaca_eval, arena_hard, mt_bench    answers for the official judges, and what these judged
gsm8k                                scored here
questions, answers, results, run     what all four share
"""

from padlab.study.benchmarks.gsm8k import gsm8k_correct

__all__ = ["gsm8k_correct"]
