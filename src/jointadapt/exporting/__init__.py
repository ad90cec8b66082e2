"""The model goes where it is needed: other programs' formats, checked on real rows after they were written."""
