"""The Vulkan driver that SAPIEN draws with, and creates materials with even where nothing is drawn.

``scripts/setup_vulkan.py`` puts Mesa's software driver into this Python environment, beside whatever the system has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "share" / "embodied" / "vulkan"
DRIVER = FOLDER / "lvp_icd.json"
"""The file that names the driver to Vulkan's loader."""
CHOICES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
SYSTEM = (Path("/usr/share/vulkan/icd.d"), Path("/etc/vulkan/icd.d"))
HELP = (
    "SAPIEN, which ManiSkill simulates with, found no Vulkan driver, and needs one even without images. On a machine "
    "with a GPU install its driver; without one: python scripts/setup_vulkan.py"
)


def choose_driver() -> None:
    """Point Vulkan's loader to this environment's driver, unless someone has chosen or there is a GPU's."""
    os.environ.setdefault(
        "LP_NUM_THREADS", "0"
    )  # Mesa's rasteriser draws in the thread that asks, beside other workers
    chosen = any(os.environ.get(name) for name in CHOICES)
    if not chosen and DRIVER.exists() and not _nvidia():
        os.environ["VK_ICD_FILENAMES"] = str(DRIVER)  # the name that SAPIEN's own, older loader knows


def _nvidia() -> bool:
    return any(list(folder.glob("nvidia*.json")) for folder in SYSTEM) or Path("/dev/nvidiactl").exists()
