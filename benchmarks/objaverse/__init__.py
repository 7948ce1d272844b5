"""The benchmark objaverse: held-out animated objects of Objaverse, chosen by a seed from public lists of ids."""
