"""`padlab grade`: the exercises of submitted notebooks, checked again.

A student's function runs in a process of its own; the check runs here, draws the inputs, and sees only numbers and
texts that come back. What a notebook's saved outputs say is not read.
"""
