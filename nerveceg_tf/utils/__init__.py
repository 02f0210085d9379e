"""Files, progress, threads and drawing: what any part may use."""
