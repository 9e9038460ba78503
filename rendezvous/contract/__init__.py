"""What both programs must agree on: message shapes, bytes to sign, codecs. Standard library and
cryptography only.
"""
