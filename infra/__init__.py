"""How the pipeline is described, deployed and run on one machine."""
