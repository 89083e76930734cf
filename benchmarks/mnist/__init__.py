"""The filters that the digits of MNIST rest on, and what the network loses without them (Oramas et al., ICLR 2019)."""
