"""What runs on nodes: the edge roles, between TCP and fabric channels."""

import fabric

if not getattr(fabric, "__fabric_runtime__", False):
    raise ImportError(
        "The package named fabric that is installed here is another one (the SSH library bears "
        "the same name). Install trio-fabric in a virtual environment of its own."
    )
