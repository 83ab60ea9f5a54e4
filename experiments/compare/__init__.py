"""One task learnt by several cells, at equal width and at equal parameters, over several seeds."""
