"""What a run must survive: kills, full disks, damaged and hostile files. `python -m tests.faults` runs all of it; its short
forms are among the tests.
"""
