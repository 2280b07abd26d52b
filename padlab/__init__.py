"""padlab: how a small language model takes over another one's preferences (PAD, arXiv 2502.14272).

The public names, in the order of the method:

    load_pair, load_model, PRESETS        student and teacher of a preset, or one model
    load_prompts                          prompts: bundled, JSONL, datasets, lists
    score, score_tokens                   reward of given responses under a model, nats/token; token by token
    sample_responses                      phase 1: the student's diverse responses
    add_rewards, add_selection_probs      phase 2: likelihood as reward; multiple choice
    calibrate                             phase 2: mix both by alpha
    PlackettLuce, js_divergence           phase 3: distributions over rankings
    bootstrap_preference                  how sure is a preference?
    fit_plackett_luce, goodness_of_fit    do pairwise answers follow any such distribution?
    vpd_loss, ppd_loss                    phase 3: the losses (sft_loss, dpo_loss, simpo_loss: baselines)
    distill, PADConfig, PADTrainer        phase 3: training
    run_rounds                            all phases in rounds, each on fresh responses
    rank_agreement, paired_differences    evaluation: how alike do both rank, before and after
    evaluate_samples                      evaluation: what the student writes now
    compare_students                      all methods at equal budget: agreement, quality, health, in one table
    run_benchmark, read_judgements        AlpacaEval 2, Arena-Hard, MT-Bench, GSM8K: answers, official results
    local_win_rate, judge_agreement       a local model as judge, and how far to trust it
    examine                               can this model be a teacher?
    prune_blocks                          a student made by leaving out transformer blocks
    with_judge, prepare_judge             an adapter that answers selection questions
    judge_quality, make_pairs             ... and how well it does
    alpha_sweep, ranking_metrics          does calibration bring the ranking nearer to a reference?
    check_candidates                      the table that flows through the phases
    from_ranked                           such a table from data that people have ranked, without a teacher
    to_trl                                ... to TRL's preference formats; from_ranked reads them
    inspect, Inspection                   edit an answer and see both preferences move: a widget; without a screen
    inspect_static, inspect_table         the same view without a kernel; a whole table: where do both disagree?
    checks                                checks of the course's exercises: checks.jsd(my_function)
    free_memory                           release memory

Names are loaded on first use: `import padlab` takes milliseconds, imports no torch and touches no network.
"""

from importlib import import_module as _import_module

__version__ = "0.1.0"

_MODULES = {
    "padlab.lm.models": ("LanguageModel", "free_memory"),
    "padlab.lm.loading": ("Pair", "load_model", "load_pair", "prune_blocks", "with_judge"),
    "padlab.lm.presets": ("PRESETS", "Preset"),
    "padlab.prompts": ("load_prompts",),
    "padlab.candidates": ("check_candidates",),
    "padlab.ranked": ("from_ranked",),
    "padlab.trl_formats": ("to_trl",),
    "padlab.rankings.plackett_luce": ("PlackettLuce",),
    "padlab.rankings.large_n": ("Divergence", "js_divergence"),
    "padlab.rankings.losses": ("vpd_loss", "ppd_loss", "sft_loss", "dpo_loss", "simpo_loss"),
    "padlab.rankings.calibration": ("calibrate",),
    "padlab.rankings.intervals": ("Interval",),
    "padlab.rankings.uncertainty": ("bootstrap_preference",),
    "padlab.rankings.goodness_of_fit": ("fit_plackett_luce", "goodness_of_fit"),
    "padlab.phases.sampling": ("sample_responses",),
    "padlab.phases.rewards": ("score", "score_tokens", "add_rewards"),
    "padlab.phases.selection": ("add_selection_probs",),
    "padlab.training.config": ("PADConfig",),
    "padlab.training.trainer": ("PADTrainer",),
    "padlab.phases.distillation": ("distill",),
    "padlab.phases.rounds": ("run_rounds",),
    "padlab.study.compare_students": ("compare_students",),
    "padlab.study.benchmarks.run": ("run_benchmark", "read_judgements"),
    "padlab.study.local_judge": ("local_win_rate", "judge_agreement"),
    "padlab.study.agreement": ("rank_agreement", "evaluate_samples"),
    "padlab.study.metrics": ("paired_differences",),
    "padlab.study.doctor": ("examine",),
    "padlab.study.judge": ("judge_quality", "make_pairs"),
    "padlab.study.judge_training": ("prepare_judge",),
    "padlab.study.alpha_sweep": ("alpha_sweep", "ranking_metrics"),
    "padlab.show.inspect": ("inspect",),
    "padlab.show.inspection": ("Inspection",),
    "padlab.show.inspector_page": ("inspect_static",),
    "padlab.show.inspect_table": ("inspect_table",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted([*_MODULE_OF, "checks", "__version__"])


def __getattr__(name: str):
    if name == "checks":
        return _import_module("padlab.checks")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'padlab' has no attribute {name!r}; see help(padlab) for the public names")
    value = getattr(_import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
