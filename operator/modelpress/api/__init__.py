"""The resource: pydantic models, the CRD made from them, and what operator and Jobs say to each other. No I/O."""
