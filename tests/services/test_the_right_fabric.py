"""Two distributions hold a package named fabric: the wrong one is named, not met by surprise."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_beside_another_package_named_fabric_the_import_explains(tmp_path):
    (tmp_path / "fabric.py").write_text("Connection = None\n")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import services"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "virtual environment of its own" in done.stderr
