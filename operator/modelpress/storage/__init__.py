"""Where models, data and artifacts lie: locations, listings with digests, and writes that are whole or not there."""
