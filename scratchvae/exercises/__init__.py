"""Exercises: functions to write again, and bugs to find.

    course.py     the functions to write, in order of difficulty; course.txt describes them
    gallery.py    the planted mistakes of faults/
    bugs.py       the same as bugs to find, and the verdict on a corrected file
    trials.py     the arguments with which a solution is tried
    judging.py    the verdict on a solution, in sentences

`scratchvae exercise` writes the files and `scratchvae check FILE` judges them; docs/exercises.md is
the course.
"""
