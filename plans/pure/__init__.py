"""Science as data, before anything moves: pure functions that plans walk through."""
