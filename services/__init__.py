"""What runs on nodes: the edge roles, between TCP and fabric channels."""
