"""The network: samples, architecture, training and prediction. The only wing that knows torch."""
