class InputError(ValueError):
    """Input that a person can correct: one sentence that holds the offending value and the remedy.

    Commands print the sentence and leave with exit code 2; in Python it is an ordinary ``ValueError``.
    """
