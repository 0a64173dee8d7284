"""Samplers of a study by name; whoever offers them loads neither Optuna nor the study."""

SAMPLERS = ("auto", "tpe", "nsga2", "nsga3", "random", "gp")
