"""Simulated chests, each site's scanner with its accent: (patient, disease, protocol) in, volume and planted truth out.

`patient` who lies on the table; `shape`, `anatomy`, `tree` what he is made of; `disease` what ails him;
`acquisition` how he is scanned; `sites` the four default sites and the dials that tie label to acquisition;
`exam` one scan from a plan; `planting` a whole site in its published layout, with its truth beside it.
"""
