"""Repair of a posterior that cannot be trusted as it is, and expectations with errors."""
