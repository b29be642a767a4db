"""`elsewhere plan`: how many scans and patients a validation needs."""

from __future__ import annotations

from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.errors import BadOption
from elsewhere.statistics.sample_size import Expected, Need, plan_sizes


def plan(
    *,
    prevalence: Annotated[float, typer.Option(help="Expected share of positive scans.")],
    auc: Annotated[float | None, typer.Option(help="Expected discrimination (AUC).")] = None,
    sensitivity: Annotated[float | None, typer.Option(help="Expected sensitivity at the product's threshold.")] = None,
    specificity: Annotated[float | None, typer.Option(help="Expected specificity at the product's threshold.")] = None,
    net_benefit_at: Annotated[
        float | None, typer.Option(help="Threshold probability of the net benefit (needs both shares).")
    ] = None,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Scores are probabilities: plan for slope and O:E, too.")
    ] = False,
    log_odds: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Mean and SD of the scores' log-odds [from AUC and prevalence]."),
    ] = None,
    auc_width: Annotated[float, typer.Option(help="Wanted width of the 95 % interval of the AUC.")] = 0.1,
    share_width: Annotated[float, typer.Option(help="Of sensitivity and specificity.")] = 0.1,
    slope_width: Annotated[float, typer.Option(help="Of the calibration slope.")] = 0.2,
    oe_width: Annotated[float, typer.Option(help="Of observed over expected positives.")] = 0.2,
    benefit_width: Annotated[float, typer.Option(help="Of the net benefit over the prevalence.")] = 0.2,
    scans_per_patient: Annotated[float, typer.Option(help="Mean number of scans of one patient.")] = 1.0,
    correlation: Annotated[
        float, typer.Option(help="Of scans of one patient (intraclass), with several scans per patient.")
    ] = 0.5,
) -> tuple[Need, ...]:
    """How many scans and patients does a validation need? For intervals as narrow as wanted (Riley et al. 2021).

    Nothing is read or written: the numbers follow from what is expected. Research use only.
    """
    try:
        expected = Expected(
            prevalence=prevalence,
            auc=auc,
            sensitivity=sensitivity,
            specificity=specificity,
            threshold=net_benefit_at,
            calibration=calibration or log_odds is not None,
            log_odds=log_odds,
            auc_width=auc_width,
            share_width=share_width,
            slope_width=slope_width,
            oe_width=oe_width,
            benefit_width=benefit_width,
            scans_per_patient=scans_per_patient,
            correlation=correlation,
        )
        needs = plan_sizes(expected)
    except ValueError as error:
        raise _named(error) from error
    engine.tell(f"{'measure':28}{'expected':>10}{'width':>8}{'scans':>12}{'patients':>12}{'positive':>12}")
    for n in needs:
        engine.tell(
            f"{n.measure:28}{n.expected:>10.3g}{n.width:>8.3g}{n.scans:>12,}{n.patients:>12,}{n.positives:>12,}"
        )
    for line in _words(needs, expected):
        engine.tell(line)
    return needs


def _words(needs: tuple[Need, ...], expected: Expected) -> list[str]:
    most = max(needs, key=lambda n: n.scans)
    lines = [
        f"Needed: {most.scans:,} scans of {most.patients:,} patients, about {most.positives:,} of them positive; "
        f"{most.measure} needs the most."
    ]
    if expected.design_effect > 1:
        lines.append(
            f"Design effect {expected.design_effect:.2f}: {expected.scans_per_patient:g} scans per patient, "
            f"correlation {expected.correlation:g}; with one scan per patient {most.independent:,} patients would do."
        )
    positives = min(n.positives for n in needs if n.scans == most.scans)
    if positives < 20:
        lines.append(
            f"With {positives} positive scans these formulas are rough: plan for at least 20 (add positive scans from "
            "the same months, and give the local prevalence to `elsewhere evaluate`)."
        )
    return lines


def _named(error: ValueError) -> BadOption:
    """What is wrong, with the option's name as the user wrote it."""
    name, _, rest = str(error).partition(" ")
    if rest.startswith(("must ", "needs ", "(net benefit)")):
        return BadOption.of_value(ValueError(f"{'net_benefit_at' if name == 'threshold' else name} {rest}"))
    return BadOption("what is expected:", str(error), "Give other numbers")
