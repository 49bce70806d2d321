"""Metering: what an answer of a language model says that it used. Values and incremental filters over bytes.

It only looks on. It knows no network library, holds a bounded part of an answer, and nothing in it fails an exchange.
"""
