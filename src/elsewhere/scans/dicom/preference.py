"""What a series' headers say of it in; how well it stands for a chest CT, as a sort key, out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from elsewhere.scans.scan import Fact

LOCALIZERS = frozenset(("LOCALIZER", "SCOUT", "TOPOGRAM", "CT_SOM5 TOP"))
RENDERED = frozenset(
    ("MIP", "MINIP", "VRT", "SSD", "PROJECTION IMAGE", "CURVED", "SCREEN SAVE", "PERFUSION", "DOSE_INFO")
)
REFORMATTED = frozenset(("MPR", "REFORMATTED", "SECONDARY", "DERIVED", "CSA MPR"))
COVERING = 2 / 3
MEDIUM = 50.0
GE_KERNELS = {"SOFT": 25.0, "STANDARD": 40.0, "STND": 40.0, "STD+": 45.0, "DETAIL": 50.0, "CHEST": 45.0}
GE_SHARP_KERNELS = {"LUNG": 65.0, "BONE": 70.0, "BONEPLUS": 75.0, "EDGE": 85.0, "ULTRA": 90.0}
PHILIPS_KERNELS = {"A": 30.0, "B": 40.0, "C": 50.0, "D": 60.0, "E": 80.0, "L": 65.0, "YA": 60.0, "YB": 65.0, "YC": 70.0}
SHARPNESS = GE_KERNELS | GE_SHARP_KERNELS | PHILIPS_KERNELS
"""On the scale of Siemens' kernel numbers (20 smooth … 90 sharp)."""

CHEST = re.compile(
    r"CHEST|THORA|TORA[XCK]|LUNG|PULMO|POUMON|POLMON|PULMAO|AKCIGER|KLATK|HRUDNI|BROSTKORG|\bTHX|HRCT|CAP\b|BRUST"
    r"|胸|肺|ГРУД|ЛЕГК|ОГК"
)
ELSEWHERE = re.compile(
    r"ABD|BAUCH|BUIK|BRZUCH|PELVI|BECKEN|BASSIN|HEAD|BRAIN|SKULL|CRAN|SCHADEL|SCHAEDEL|KOPF|NECK|CERVI|HALS|LIVER|LEBER"
    r"|KIDNEY|RENAL|NIERE|SPINE|LUMB|LWS|KNEE|KNIE|HIP\b|FOOT|HAND|WRIST|SHOULDER|EXTREM|SINUS|ORBIT|UROGR|COLON"
    r"|腹|头|頭|颈|頸|盆|ЖИВОТ|БРЮШ|ГОЛОВ|ТАЗ"
)
PHANTOM = re.compile(r"PHANTOM|FANTOM|CATPHAN|\bQA\b|\bQC\b|CONSTANCY|KONSTANZ|ФАНТОМ|体模")


def region(facts: Mapping[str, Fact]) -> int:
    """0 where body part or description say chest, 2 where they say another region only, 1 where they say neither."""
    text = _text(facts)
    return 0 if CHEST.search(text) else 2 if ELSEWHERE.search(text) else 1


def is_phantom(facts: Mapping[str, Fact]) -> bool:
    """Whether body part or description name a phantom or a quality check."""
    return PHANTOM.search(_text(facts)) is not None


def _text(facts: Mapping[str, Fact]) -> str:
    text = unicodedata.normalize("NFKD", f"{facts.get('body_part') or ''} {facts.get('description') or ''}").upper()
    return "".join(letter for letter in text if not unicodedata.combining(letter))


def rank(facts: Mapping[str, Fact], slices: int, reformatted: bool) -> tuple[bool, int, int, float, float]:
    """Sort key, best first: original, chest, most slices, thinnest slices, softest kernel."""
    thickness = facts.get("thickness_mm")
    thickness = float(thickness) if isinstance(thickness, int | float) else float("inf")
    return reformatted, region(facts), -slices, thickness, sharpness(facts.get("kernel"))


def sharpness(kernel: Fact) -> float:
    """How sharp a reconstruction kernel is, about 20 (smooth) to 90 (edge); MEDIUM where its name says nothing.

    Siemens prints the number (B70f, Br38f, D40s); Canon/Toshiba FC01–FC29 are soft, FC30–FC49 bone, FC50–FC59 lung,
    FC80 up the sharpest; GE and Philips use names.
    """
    name = str(kernel or "").upper().strip()
    if name in SHARPNESS:
        return SHARPNESS[name]
    if found := re.match(r"FC(\d\d)", name):
        number = int(found[1])
        return 35.0 if number < 30 else 70.0 if number < 50 else 65.0 if number < 60 else 80.0
    found = re.match(r"[A-Z]{1,2}(\d\d)", name)
    return float(found[1]) if found else MEDIUM
