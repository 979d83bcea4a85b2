"""The same stack on one machine."""

import os

# gRPC would warn at every child process that the stack starts; none of them uses the
# channels of its parent.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
