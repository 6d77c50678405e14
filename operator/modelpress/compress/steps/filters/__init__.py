"""Filter pruning: whole filters, neurons and attention heads go, and the network is rebuilt smaller."""
