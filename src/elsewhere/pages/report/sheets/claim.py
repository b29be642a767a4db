"""CLAIM, 2024 update (Tejani et al., Radiol Artif Intell 6:e240300): its 44 items by number, in our own words."""

from __future__ import annotations

from elsewhere.pages.report.sheets import answers as run
from elsewhere.pages.report.sheets import methods as made
from elsewhere.pages.report.sheets.sheet import Item, Sheet

CLAIM = Sheet(
    "claim",
    "CLAIM 2024",
    "Tejani et al. 2024, Radiology: Artificial Intelligence 6:e240300",
    (
        Item("1", "Title", "say that it is about AI, and which kind", made.title, "Say so in your own title."),
        Item("2", "Abstract", "design, methods, results and conclusions in short", None, "Write it from “In short”."),
        Item(
            "3",
            "Introduction",
            "background, intended use and role",
            None,
            "The clinical question and the part the network shall play.",
        ),
        Item("4", "Introduction", "aims and hypotheses", made.goal, "The hypothesis that you held beforehand."),
        Item("5", "Design", "looking back or ahead", made.design),
        Item("6", "Design", "goal of the study", made.goal),
        Item("7", "Data", "where they come from", made.sources),
        Item("8", "Data", "who is in and who is out", made.missing, "Who was left out before you got the scans."),
        Item("9", "Data", "preparation", made.preparation),
        Item(
            "10",
            "Data",
            "parts of scans or of the data that were chosen",
            made.rescaling,
            "How scans were picked, where a patient has several.",
        ),
        Item(
            "11",
            "Data",
            "how identity was taken away",
            None,
            "How and by whom the scans were de-identified. This page holds the ids they came with.",
        ),
        Item("12", "Data", "what was missing", made.missing),
        Item("13", "Data", "how scans were made", made.acquisition, "Scanners, dose, contrast and kernel by site."),
        Item("14", "Reference", "how the truth was found", None, "The test behind the label, at each site."),
        Item("15", "Reference", "why that one", None, "Why that test, and how often it errs."),
        Item("16", "Reference", "who found it", None, "Who set the labels, and what they knew."),
        Item("17", "Reference", "how test scans were labelled", None, "Whether as the training scans were."),
        Item(
            "18",
            "Reference",
            "how far labellers agree",
            None,
            "Agreement between and within readers, or that nobody measured it.",
        ),
        Item("19", "Partitions", "how they were made", made.split),
        Item("20", "Partitions", "what never stands on two sides", made.disjoint),
        Item("21", "Testing data", "size that was planned", made.events, "The size you planned, and why."),
        Item("22", "Model", "in full", made.network),
        Item("23", "Model", "software", made.software),
        Item("24", "Model", "starting weights", made.starting_weights),
        Item("25", "Training", "how", made.training),
        Item("26", "Training", "how the final model was picked", made.selection),
        Item("27", "Training", "ensembles", made.ensembling),
        Item("28", "Evaluation", "measures", run.measures),
        Item("29", "Evaluation", "uncertainty and tests", run.uncertainty),
        Item("30", "Evaluation", "how robust", run.robustness),
        Item("31", "Evaluation", "how it was explained", run.explainability),
        Item("32", "Evaluation", "on data from inside", run.internal),
        Item("33", "Evaluation", "on data from outside", run.external),
        Item("34", "Evaluation", "trial register", None, "Register and number, if this is a trial."),
        Item("35", "Results", "how many in, how many out", made.flow),
        Item("36", "Results", "who they are, by partition", made.people, "Severity, and age and sex where not known."),
        Item("37", "Results", "performance with uncertainty", run.performance),
        Item("38", "Results", "diagnostic performance and its precision", run.performance),
        Item(
            "39",
            "Results",
            "where it fails",
            run.failures,
            "What a radiologist sees in the scans that are called wrongly.",
        ),
        Item("40", "Discussion", "limits", run.limitations, "Your own."),
        Item(
            "41", "Discussion", "what it means in practice", None, "What a hospital should, and should not, do with it."
        ),
        Item("42", "Other", "protocol and technical details", made.technical),
        Item(
            "43", "Other", "software, model, data: who can have them", made.code, "Where weights and data can be had."
        ),
        Item("44", "Other", "money, and what those who gave it did", None, "Funders and their part."),
    ),
)
