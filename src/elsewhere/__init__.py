"""Will your CT classifier work elsewhere? External validation of 3D chest-CT classifiers across hospitals.

The map of the house, from the ground up::

    errors                what went wrong, where, and what to do next
    files, stages, memory a file written whole or not at all; where the time of a run went; freed memory kept
    statistics/           decisions, scores, intervals, calibration, diagnosis: arrays in, numbers out
    scans | pages | engine
        scans/            one examination, its volume, its quality, the store, published layouts, simulated chests
        pages/            figures, reports and the viewer: numbers in, files out
        engine            a map over tasks, on all cores
    model/                samples, the network, training, prediction: the only wing that knows torch
    studies/              the study file, the study's folder and its records
    commands/             one file = one sub-command = one public function
    cli                   the command line

The verbs are re-exported here: `from elsewhere import study` gives the function behind `elsewhere study`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

COMMANDS = {
    "init": "Write a study file and labels tables from folders of scans and one table.",
    "demo": "Simulate four sites and run the whole path on them: start here.",
    "prepare": "Read, check and store the scans of every site; print the audit.",
    "audit": "Test whether metadata alone predict the label; find duplicate and corrupted scans.",
    "train": "Train one model of a study; keeps the best on validation.",
    "predict": "Probabilities of new scans, no labels needed; or of one site of a study.",
    "study": "Train on every combination of sites, test at every site, write the page.",
    "report": "Write the page of one or several studies from their records.",
    "diagnose": "Explain loss of external performance: shortcuts outside the lungs, site separability, saliency.",
    "stress": "Shift home scans step by step (kernel, noise, …); find which shift explains each other site.",
    "verdict": "Will a study's model work on your scans? One page, three lines, an exit code.",
    "adapt": "Fit a model to a new place with few labelled scans, if that is surely worth it.",
    "sequence": "Learn a study's sites one after another; what is forgotten, and what helps.",
    "recalibrate": "A model with the threshold or recalibration that a verdict advises.",
    "export": "One model as one file that may leave the house.",
    "kit": "Models for a hospital whose scans may not leave: one file that it runs there.",
    "visit": "At such a hospital: score a kit's models on its scans; writes what may leave, after asking.",
    "gather": "Take what hospitals sent back into a study and its page.",
    "evaluate": "Does any product work here? From a table of its scores, without a scan: page and exit code.",
    "history": "Is a product still what was accepted? Its kept evaluations over time, with a stop rule.",
    "plan": "How many scans and patients a validation needs.",
    "view": "Write a page that draws scans, with what a model looked at.",
    "simulate": "Make simulated sites in their published layouts.",
}
"""Sub-commands and what they do, in the order of use."""

__all__ = ["COMMANDS", "__version__", *COMMANDS]


def __getattr__(name: str) -> Any:
    """Import a verb when it is first asked for, so that `import elsewhere` stays quick."""
    if name in __all__:
        return getattr(import_module(f"elsewhere.commands.{name}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
