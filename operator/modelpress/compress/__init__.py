"""The compression engine: a trained model and a recipe in, servable and checked candidates out."""
