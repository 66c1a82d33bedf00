"""Banks: named lists of fingerprints with an owner, a purpose and a trust tier."""

from tutela.banks.bank import Bank, Banks, Entry, Tier
from tutela.banks.transfer import ImportReport, RowError, export_bank, import_bank

__all__ = [
    "Bank",
    "Banks",
    "Entry",
    "ImportReport",
    "RowError",
    "Tier",
    "export_bank",
    "import_bank",
]
