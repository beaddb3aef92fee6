"""Memory that is freed is not given back, so that the next step need not ask for it again."""

import json
import subprocess
import sys

import pytest

STEPS = """
import json, resource, sys
import numpy as np
from worldjepa.memory import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
faults = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(1 << 23) for _ in range(4)]  # 64 MiB each: more than malloc keeps by itself
    del blocks
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps([kept, faults[-1]]))
"""


def page_faults(how):
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone can be told")
def test_a_step_takes_no_new_memory():
    assert page_faults("given back")[1] > 1000  # pages may be large ones
    kept, faults = page_faults("kept")
    assert kept and faults < 100
