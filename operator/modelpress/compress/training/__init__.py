"""Training for every step that needs it: one loop over the variables of any model, resumable to the bit."""
