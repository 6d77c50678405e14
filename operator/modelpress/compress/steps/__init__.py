"""The steps that change a model's weights; each works on any SavedModel with variables."""
