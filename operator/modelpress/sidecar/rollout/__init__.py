"""A revision on trial: a share of the requests goes to it, or copies of some whose answers are compared."""
