"""Names of a search's stages, as progress lines, events and ``seconds`` have them."""

STAGES = ("profile", "statistics", "cuts", "study", "refine", "finetune", "export", "verify")
"""In their order; a repair begins again with the study."""
