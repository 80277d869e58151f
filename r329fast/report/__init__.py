"""Run records as tables, CSV, JSON and HTML, all from one column description."""

from r329fast.report.columns import COLUMNS, Column, shown_columns
from r329fast.report.csv_file import layers_csv

__all__ = ["COLUMNS", "Column", "layers_csv", "shown_columns"]
