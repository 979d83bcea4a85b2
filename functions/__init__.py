"""What runs in the cloud: one folder, one deployable."""
