"""The last line of a judge: its name, its version, and how much it judged."""

import importlib.metadata


def verdict(judge, count, what):
    """Prints what the test reads; whoever gets here has found nothing wrong."""
    print(f"verdict: {judge} {importlib.metadata.version(judge)}: {count} {what}")
