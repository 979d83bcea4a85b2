"""What runs in the cloud: one folder, one deployable."""

import gc

# A cold start makes some hundred thousand objects that all stay. Looking through them
# for garbage again and again takes a tenth of its time; ``once`` ends this.
gc.set_threshold(200_000, 10, 10)
