"""The report: reads study.json and run folders only."""
