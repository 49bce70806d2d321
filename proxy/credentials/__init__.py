"""Credentials: reading secrets, the sandbox's fakes, putting a secret into a request and keeping it out of responses.

Pure but for `sources`, which reads the environment mapping that it is given and files.
"""
