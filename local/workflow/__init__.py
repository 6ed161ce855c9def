"""The state machine of batches on one person's machine: moto's interpreter runs the definition of the template.

It is installed with what writes templates, so it runs in that environment; `machine.py` alone is read outside of it.
"""
