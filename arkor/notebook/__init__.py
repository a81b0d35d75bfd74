"""What a notebook shows of a training, loaded only in a notebook or for ``progress="plain"``.

Nothing is needed beyond IPython, which a notebook's kernel has.
"""
