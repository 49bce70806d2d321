"""Which protocol may follow: the hook `next_layer`."""

from mitmproxy.proxy import layer

from proxy.engine.layers import next_layer


class Protocol:
    """Lets HTTP, TLS and HTTP in TLS follow each other, and nothing else."""

    name = "nextlayer"  # the name under which mitmproxy looks for the addon with this job

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        if nextlayer.layer is None:
            nextlayer.layer = next_layer(nextlayer)
