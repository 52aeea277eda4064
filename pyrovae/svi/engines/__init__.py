"""How the steps of training run: as Python, as a recorded graph, or as compiled code; all to the same answers."""
