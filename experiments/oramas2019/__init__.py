"""Networks that the experiments of Oramas, Wang and Tuytelaars (ICLR 2019) train."""
