"""The API under attack: schemathesis sends what its description allows, and what it forbids.

Each asker has one kind of token: none, one scope each of somebody who may do everything, a
labeler's, and one of the lead of another project. No response may be an error of the server, have a
status that the description does not name, differ from its schema, or come from a route that the
asker may not use.
"""
