"""What is wrong with a sample, told by whichever process read it."""


class SampleError(ValueError):
    """One sentence about a sample that cannot be read.

    A DataLoader raises a worker's error again with the worker's traceback as its message; the sentence stands at the end.

    Args:
        message: the sentence, or a traceback that ends in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())
