"""Screening whole folders: resumable, on every core, with a report."""

from tutela.bulk.report import write_html, write_lines
from tutela.bulk.scan import Progress, Scan, scan

__all__ = ["Progress", "Scan", "scan", "write_html", "write_lines"]
