"""Cut small slices, by calls, out of full recordings: how the files beside this script were made.

    python tests/recordings/slices.py FOLDER_OF_THE_FULL_RECORDINGS

The torch slices hold 16 of 400 calls. In the 2.3.1 recording calls 16 and 321, 26 and 317, 46 and 399, 153 and
331, 169 and 301 are windows of one cycle of the generator and share long runs; the 2.13.0 slice has the same
calls.
"""

import sys
from pathlib import Path

import numpy as np

TORCH = (0, 1, 2, 3, 16, 26, 46, 153, 169, 177, 220, 301, 317, 321, 331, 399)
CALLS = {
    "torch-2.3.1-cpu-n131072-p0.1.npz": TORCH,
    "torch-2.13.0-cpu-n131072-p0.1.npz": TORCH,
    "tensorflow-2.21.0-bfloat16-n1024-p0.3.npz": range(512),
    "tensorflow-2.21.0-float32-n1024-p0.1.npz": range(512),
    "jax-0.10.2-bfloat16-n512-p0.05.npz": range(1024),
}

if __name__ == "__main__":
    for name, calls in CALLS.items():
        with np.load(Path(sys.argv[1], name), allow_pickle=False) as full:
            fields = dict(full)
        chosen = "the first " + str(len(calls)) if isinstance(calls, range) else ", ".join(map(str, calls))
        fields["keep"] = fields["keep"][list(calls)]
        fields["shape"] = np.array([len(calls), fields["shape"][1]])
        fields["source"] = np.array(f"{fields['source']}; calls {chosen}")
        np.savez_compressed(Path(__file__).with_name(name), **fields)
