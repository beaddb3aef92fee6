"""Settings files, as the package ``worldjepa.conf``: ``train.yaml`` and the groups it is joined from."""
