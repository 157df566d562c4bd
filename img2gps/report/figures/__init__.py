"""Figures of the report: functions of plain tables; each gives one that states its finding."""
