"""One page: what was measured, what it costs and which home that speaks for. Nothing in it comes from elsewhere."""
