"""The command: composition of the gateway, the workers and the tools around them."""

import os

# Read when numpy is first imported. Its products are small here, and threads for them cost more than they do: they wait
# for one another by turning in place, and take cores from what prepares the next film.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
