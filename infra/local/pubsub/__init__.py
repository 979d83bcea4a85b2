"""An embedded Pub/Sub for machines without Google's emulator: gRPC and REST, one port.

``python -m infra.local.pubsub --port 8085`` serves it. It keeps everything in memory,
enforces the service's limits, and is held to the same contract tests as the emulator.
"""
