"""Which column of a score table is which, by its name; where two could be meant it asks, and never guesses."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

from elsewhere.errors import BadTable

Role = Literal[
    "score", "label", "patient", "scan", "site", "date", "age", "sex", "call", "refused", "version", "finding"
]
ROLES: tuple[Role, ...] = get_args(Role)

Scale = Literal["probability", "percent", "logit", "higher-is-sicker", "lower-is-sicker"]
SCALES: tuple[Scale, ...] = get_args(Scale)
ENDS: dict[Scale, tuple[float, float]] = {"probability": (0.0, 1.0), "percent": (0.0, 100.0)}

NAMES: dict[Role, tuple[str, ...]] = {
    "score": (
        "score scores probability prob probabilities output logit likelihood confidence p y_score y_prob y_proba "
        "predicted_probability risk risk_score suspicion softmax sigmoid",
        "prediction pred y_pred predicted",
    ),
    "label": (
        "label labels truth ground_truth groundtruth gt target y y_true true_label reference reference_standard "
        "gold_standard",
        "covid covid_19 covid19 sars_cov_2 disease diagnosis final_diagnosis outcome pathology pcr rt_pcr pcr_result "
        "positive class",
        "finding",
    ),
    "patient": (
        "patient patient_id patientid pid subject subject_id participant participant_id",
        "person person_id mrn pseudonym",
    ),
    "scan": (
        "scan scan_id scanid",
        "series_uid seriesuid seriesinstanceuid series_instance_uid series",
        "study_uid studyuid studyinstanceuid study_instance_uid study study_id",
        "accession accession_number exam exam_id examination",
        "case case_id image image_id path file filename file_name id",
    ),
    "site": (
        "site site_id site_name hospital hospital_id hospital_name",
        "center centre institution institution_name clinic facility",
    ),
    "date": ("date study_date scan_date exam_date acquisition_date series_date studydate",),
    "age": ("age patient_age age_years age_at_scan patientage",),
    "sex": ("sex gender patient_sex patientsex",),
    "call": (
        "call decision binary_call predicted_label predicted_class pred_label y_hat",
        "flag flagged alert triage result classification",
    ),
    "refused": (
        "refused refusal refused_reason refusal_reason rejected reject_reason rejection_reason",
        "failed failure error not_processed exclusion exclusion_reason reason",
    ),
    "version": ("version software_version model_version product_version algorithm_version release",),
    "finding": ("finding findings finding_name target_finding task",),
}
"""Names of each role, in order of strength: a stronger name in the table makes the weaker ones plain metadata."""

PARTS: dict[Role, frozenset[str]] = {
    "score": frozenset({"score", "probability", "prob", "logit", "likelihood", "confidence", "suspicion", "softmax"}),
    "label": frozenset({"label", "truth", "groundtruth"}),
}
"""Words that make a longer name one of the role ("covid_prob_v2"), where nothing in the table has a name of it."""
OWNERS = frozenset({"ai", "model", "product", "vendor", "algorithm", "cad", "percent", "pct"})
"""Words before or after a name that change nothing: "AI score", "score (percent)"."""
NOT_OF_A_SCORE = frozenset({"date", "time", "file", "path", "threshold", "version", "severity", "quality", "motion"})
"""Words in whose company a score is another one."""
RANKED = ("scan",)
"""Roles of which the strongest name is taken where several stand: ids of a scan differ only in how exact they are."""


def normal_name(name: str) -> str:
    """A column's name without case, marks and spaces: "AI Score (%)" and "aiScore" are "ai_score".

    >>> normal_name("AI Score (%)"), normal_name("probCOVID"), normal_name("StudyInstanceUID")
    ('ai_score', 'prob_covid', 'study_instance_uid')
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.strip().strip("\ufeff"))
    return re.sub(r"[\W_]+", "_", apart.casefold()).strip("_")


def recognise(
    header: Sequence[str], given: Mapping[Role, str], where: str, roles: Collection[Role] = ROLES
) -> dict[Role, int]:
    """Role -> place in the header.

    Args:
        header: names of the columns, as in the file.
        given: role -> name of the column, as the user said it.
        where: what an error calls the table.
        roles: to look for.

    Raises:
        BadTable: a column that was given is not there, or two columns could have one role.
    """
    names = [normal_name(name) for name in header]
    found: dict[Role, int] = {}
    for role, name in given.items():
        places = [i for i, h in enumerate(header) if h.strip() == name.strip()]
        places = places or [i for i, n in enumerate(names) if n == normal_name(name)]
        if len(places) != 1:
            seen = "has no" if not places else f"has {len(places)}"
            raise BadTable(where, f"{seen} column {name!r} (columns: {_listed(header)})", f"Correct --{role}")
        found[role] = places[0]
    for role in roles:
        if role not in found:
            free = {i: n for i, n in enumerate(names) if n and i not in found.values()}
            place = _place(role, free, header, where)
            if place is not None:
                found[role] = place
    return found


def _place(role: Role, free: Mapping[int, str], header: Sequence[str], where: str) -> int | None:
    bare = {i: _without_owner(n) for i, n in free.items()}
    for tier in NAMES[role]:
        names = tier.split()
        places = [i for i, n in free.items() if n in names] or [i for i, n in bare.items() if n in names]
        if role in RANKED:
            places = sorted(places, key=lambda i: (names.index(bare[i]) if bare[i] in names else 99, i))[:1]
        if places:
            return _only(places, role, header, where)
    words = PARTS.get(role, frozenset())
    places = [i for i, n in free.items() if words & set(n.split("_")) and not NOT_OF_A_SCORE & set(n.split("_"))]
    return _only(places, role, header, where) if places else None


def _only(places: Sequence[int], role: Role, header: Sequence[str], where: str) -> int:
    if len(places) > 1:
        names = " or ".join(repr(header[i]) for i in places[:4])
        option = f"Say which with --{role}" if role in {"score", "label", "patient", "site"} else "Rename the others"
        raise BadTable(where, f"{len(places)} columns may be the {role}: {names}", option)
    return places[0]


def _without_owner(name: str) -> str:
    words = [w for w in name.split("_") if w not in OWNERS]
    return "_".join(words) or name


def _listed(header: Sequence[str]) -> str:
    return ", ".join(repr(name.strip()) for name in header if name.strip())
