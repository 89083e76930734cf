"""The tables of Qi, Khorram and Li (2018) on birds: faithfulness, orthogonality, locality, accuracy on masked images."""
