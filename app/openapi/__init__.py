"""The OpenAPI document: what the routes say of themselves, and here, beside them, all else that a caller has to know.

Nothing of this is imported before somebody asks for the document.
"""
