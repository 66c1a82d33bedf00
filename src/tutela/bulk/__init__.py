"""Screening whole folders and data sets: resumable, on every core, with a report or a receipt."""

from tutela.bulk.report import write_html, write_lines, write_whole
from tutela.bulk.scan import Progress, Scan, scan

__all__ = ["Progress", "Scan", "scan", "write_html", "write_lines", "write_whole"]
