"""Answers as other programs and people take them: tables, tracks, maps, pages, tagged copies."""
