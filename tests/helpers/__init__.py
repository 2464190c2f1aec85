"""What tests share: small networks and datasets, servers, files as other tools write them, independent algorithms."""
