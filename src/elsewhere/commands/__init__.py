"""The verbs: one file is one sub-command is one public function."""
