"""What can be said of two domains, or of a run, without target labels.

`shift` tests whether two domains differ, `shift_kind` says in which way; `label_suggestion` names the target examples
that are worth a label first.
"""
