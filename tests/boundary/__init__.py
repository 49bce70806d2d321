"""The boundary as a black box: what a running proxy lets through, told by everything that arrived on the other side."""
