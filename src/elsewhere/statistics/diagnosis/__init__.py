"""Why a model fails elsewhere: what tells sites, or classes, apart without a lung, and what a model makes of it.

`separation` can two groups of scans be told apart from a description; `battery` a model's AUC on parts of the scans;
`tested` one such test with what it asked of whom, and Holm's adjustment of a family of them; `findings` the rule that
turns them into plain sentences.
"""
