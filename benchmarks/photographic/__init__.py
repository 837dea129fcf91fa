"""Models of photographs, and what needs no model: draws, baselines and measures."""
