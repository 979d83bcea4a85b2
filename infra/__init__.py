"""How the pipeline is described, deployed and run on one machine."""

import os

# Set before anything loads gRPC, which looks once: in a child process that the local
# stack starts it would handle a fork that is no concern of it, and may crash there.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
