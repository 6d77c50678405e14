"""What lies below the memory tier: disk, then Redis or Valkey. Both may be slow, full or gone without harm."""
